function request_for(key)
    return wrk.format("GET", "/read/" .. key)
end

dofile((debug.getinfo(1, "S").source:sub(2):gsub("read.lua$", "common.lua")))
