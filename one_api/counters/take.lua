-- Takes everything that is asked for or nothing; see one_api/counters/__init__.py for what counts.
--
-- KEYS: for each ask its counter: of a window a hash of `index`, `current` and `previous`, of a
--   concurrency a sorted set of leases by the time they end.
-- ARGV: the lease, its length in ms, the time in ms ('' for this server's), and for each ask its
--   kind, amount, limit and window in ms.
-- Returns 1 or 0 (taken or refused), which ask refused (from 1; 0 for none), in how many ms it may
--   be asked again (-1 for never), and for each ask what remains, in how many ms nothing counts
--   any more, and the index of its window.

local CONCURRENCY_RETRY_MS = 1000
-- Keys outlive what they count by so much: a clock that is not quite right loses nothing.
local MARGIN_MS = 60000

local lease, lease_ms, now_ms = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
if not now_ms then
  local time = redis.call('TIME')
  now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
end

local function read_window(key, ask)
  local stored = redis.call('HMGET', key, 'index', 'current', 'previous')
  local index = math.floor(now_ms / ask.window_ms)
  local elapsed_ms = now_ms - index * ask.window_ms
  local at = tonumber(stored[1]) or index
  local current, previous = tonumber(stored[2]) or 0, tonumber(stored[3]) or 0
  if index == at + 1 then
    current, previous = 0, current
  elseif index > at then
    current, previous = 0, 0
  elseif index == at - 1 then
    -- The clock was set back over the beginning of the window: it stands there until then.
    index, elapsed_ms = at, 0
  end -- set back further, what counts goes on in the window that it is now
  ask.index, ask.current, ask.previous = index, current, previous
  ask.left_ms = ask.window_ms - elapsed_ms
end

local function window_wait_ms(ask)
  if ask.amount > ask.limit then
    return -1
  end
  local room = ask.limit - ask.current - ask.amount
  if room >= 0 then -- once enough of the previous window is out of reach
    if ask.previous == 0 then
      return 0
    end
    return math.max(ask.left_ms - math.floor(room * ask.window_ms / ask.previous), 0)
  end
  -- This window fades only after it is over.
  local reach_ms = math.floor((ask.limit - ask.amount) * ask.window_ms / ask.current)
  return ask.left_ms + ask.window_ms - reach_ms
end

local function concurrency_wait_ms(ask)
  if ask.amount > ask.limit then
    return -1
  end
  return ask.current + ask.amount <= ask.limit and 0 or CONCURRENCY_RETRY_MS
end

local asks = {}
local refused, wait_ms = 0, 0
for i, key in ipairs(KEYS) do
  local at = 4 * i
  local ask = {
    kind = ARGV[at],
    amount = tonumber(ARGV[at + 1]),
    limit = tonumber(ARGV[at + 2]),
    window_ms = tonumber(ARGV[at + 3]),
  }
  local ask_wait_ms
  if ask.kind == 'window' then
    read_window(key, ask)
    ask_wait_ms = window_wait_ms(ask)
  else
    ask.index = 0
    ask.current = redis.call('ZCOUNT', key, '(' .. string.format('%.0f', now_ms), '+inf')
    ask_wait_ms = concurrency_wait_ms(ask)
  end
  if wait_ms >= 0 and (ask_wait_ms < 0 or ask_wait_ms > wait_ms) then
    refused, wait_ms = i, ask_wait_ms
  end
  asks[i] = ask
end

if refused == 0 then
  for i, ask in ipairs(asks) do
    local key = KEYS[i]
    ask.current = ask.current + ask.amount
    if ask.kind == 'window' then
      redis.call('HSET', key, 'index', ask.index, 'current', ask.current, 'previous', ask.previous)
      redis.call('PEXPIRE', key, 2 * ask.window_ms + MARGIN_MS)
    else
      redis.call('ZREMRANGEBYSCORE', key, '-inf', now_ms)
      redis.call('ZADD', key, now_ms + lease_ms, lease)
      redis.call('PEXPIRE', key, lease_ms + MARGIN_MS)
    end
  end
end

local reply = { refused == 0 and 1 or 0, refused, wait_ms }
for _, ask in ipairs(asks) do
  local faded, reset_ms = 0, 0
  if ask.kind == 'window' then
    faded = math.ceil(ask.previous * ask.left_ms / ask.window_ms)
    if ask.current > 0 then
      reset_ms = ask.left_ms + ask.window_ms
    elseif ask.previous > 0 then
      reset_ms = ask.left_ms
    end
  end
  reply[#reply + 1] = math.max(ask.limit - ask.current - faded, 0)
  reply[#reply + 1] = reset_ms
  reply[#reply + 1] = ask.index
end
return reply
