-- Corrects windows by what was taken too much or too little; those that are over stay as they are.
--
-- KEYS: the windows, as take.lua keeps them.
-- ARGV: for each the index of the window that the amount was taken in, and the difference.

for i, key in ipairs(KEYS) do
  local index, difference = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
  local at = tonumber(redis.call('HGET', key, 'index'))
  local field
  if at == index then
    field = 'current'
  elseif at == index + 1 then
    field = 'previous'
  end
  if field then
    local counted = tonumber(redis.call('HGET', key, field))
    redis.call('HSET', key, field, math.max(counted + difference, 0))
  end
end
