-- FILL or SEEN (ARGV: token or '', stamp, value, lifetime in ms) for each of KEYS.
--
-- Without a line of flags, and with pcall: when memory is full, Redis refuses a FILL or a note, and
-- the lease is deleted instead (deleting is never refused). A script flagged allow-oom would grow
-- beyond the limit, and any other flag would make Redis refuse the whole script.
local is_full = false

-- Runs what stores more; deletes the entry if it can't. After the script's first write Redis
-- doesn't refuse any more, so that one refusal counts for all that follow.
local function store(name, ...)
  if not is_full then
    local reply = redis.pcall(...)
    if not (type(reply) == 'table' and reply.err) then
      return
    end
    is_full = true
  end
  redis.call('DEL', name)
end

for i, name in ipairs(KEYS) do
  local token, stamp, value, lifetime = unpack(ARGV, 4 * i - 3, 4 * i)
  local head = redis.pcall('GETRANGE', name, 0, 24)
  local kind = type(head) == 'string' and string.sub(head, 1, 1)
  if kind == 'V' then
    if string.sub(head, 2, 9) ~= stamp then
      redis.call('DEL', name)
    end
  elseif kind == 'L' and (#head == 17 or #head == 25) then
    local noted = string.sub(head, 18)
    if noted ~= '' and noted ~= stamp then
      redis.call('DEL', name)
    elseif token ~= '' and string.sub(head, 2, 17) == token then
      if lifetime == '0' then
        redis.call('DEL', name)
      else
        store(name, 'SET', name, value, 'PX', lifetime)
      end
    elseif noted == '' then
      store(name, 'APPEND', name, stamp) -- keeps the lease's lifetime
    end
  elseif kind ~= '' then
    redis.call('DEL', name) -- no step writes such an entry
  end
end
