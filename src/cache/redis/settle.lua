-- FILL or SEEN for each of KEYS, those with a lease first.
--
-- ARGV: how many have one, and the lease as GET shows it while nothing is noted in it; for each of them
-- the value and its lifetime in ms; for each other the stamp that was seen. Returns how many were filled.
--
-- Without a line of flags, and with pcall: when memory is full, Redis refuses a FILL or a note, and
-- the lease is deleted instead (deleting is never refused). A script flagged allow-oom would grow
-- beyond the limit, and any other flag would make Redis refuse the whole script.
local is_full = false

-- Runs what stores more, and returns 1; deletes the entry if it can't, and returns 0. After the script's
-- first write Redis doesn't refuse any more, so that one refusal counts for all that follow.
local function store(name, ...)
  if not is_full then
    local reply = redis.pcall(...)
    if not (type(reply) == 'table' and reply.err) then
      return 1
    end
    is_full = true
  end
  redis.call('DEL', name)
  return 0
end

local leased, lease = tonumber(ARGV[1]), ARGV[2]
local filled = 0

-- Stores the value under a lease of this reader.
local function fill(i, name)
  local value, lifetime = ARGV[2 * i + 1], ARGV[2 * i + 2]
  if lifetime == '0' then
    redis.call('DEL', name)
  else
    filled = filled + store(name, 'SET', name, value, 'PX', lifetime)
  end
end

-- Does what the head of the entry asks for. It has an own lease only if `i` is given.
local function settle(name, head, stamp, i)
  local kind = type(head) == 'string' and string.sub(head, 1, 1)
  if kind == 'V' then
    if string.sub(head, 2, 9) ~= stamp then
      redis.call('DEL', name)
    end
  elseif kind == 'L' and (#head == 17 or #head == 25) then
    local noted = string.sub(head, 18)
    if noted ~= '' and noted ~= stamp then
      redis.call('DEL', name)
    elseif i and string.sub(head, 1, 17) == lease then
      fill(i, name)
    elseif noted == '' then
      store(name, 'APPEND', name, stamp) -- keeps the lease's lifetime
    end
  elseif kind ~= '' then
    redis.call('DEL', name) -- no step writes such an entry
  end
end

-- In one call: nearly all of these are what they were.
if leased > 0 then
  local heads = redis.call('MGET', unpack(KEYS, 1, leased))
  for i, head in ipairs(heads) do
    local name = KEYS[i]
    if head == lease then
      fill(i, name)
    elseif head then
      settle(name, head, string.sub(ARGV[2 * i + 1], 2, 9), i)
    end
  end
end

-- These may be values of any size, of which only the head is wanted.
for i = leased + 1, #KEYS do
  local name = KEYS[i]
  settle(name, redis.pcall('GETRANGE', name, 0, 24), ARGV[leased + 2 + i])
end

return filled
