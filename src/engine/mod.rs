//! Cache-aside: the read path and the write path, nothing else. The engine knows neither RESP nor
//! HTTP.
