-- Requests for random keys, all written beforehand, and the outcome as one line of JSON.
-- Arguments: the number of keys and the bytes of a value.

local requests = {}

function init(args)
    local keys, value_bytes = tonumber(args[1]), tonumber(args[2])
    math.randomseed(os.time())
    for number = 0, keys - 1 do
        requests[number] = request_for(string.format("key:%012d", number), string.rep("x", value_bytes))
    end
    last_key = keys - 1
end

function request()
    return requests[math.random(0, last_key)]
end

function done(summary, latency)
    local errors = summary.errors
    print(string.format(
        '{"requests": %d, "seconds": %.6f, "errors": %d, "p50_us": %d, "p99_us": %d}',
        summary.requests, summary.duration / 1e6,
        errors.connect + errors.read + errors.write + errors.status + errors.timeout,
        latency:percentile(50), latency:percentile(99)))
end
