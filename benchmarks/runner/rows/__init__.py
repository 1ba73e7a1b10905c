"""The rows: each module measures one thing, once a round, on all that is compared.

`prepare` is called once, `measure` in every round. `report` gives the text of its section, `marks` what is asked.
"""

from . import alone, cold, get, hot, http, latency, memory, set_

ROWS = {
    "get": get,
    "set": set_,
    "alone": alone,
    "cold": cold,
    "http": http,
    "latency": latency,
    "memory": memory,
    "hot": hot,
}
