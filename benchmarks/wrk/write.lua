function request_for(key, value)
    local body = string.format('{"key": "%s", "value": "%s"}', key, value)
    return wrk.format("POST", "/write", { ["Content-Type"] = "application/json" }, body)
end

dofile((debug.getinfo(1, "S").source:sub(2):gsub("write.lua$", "common.lua")))
