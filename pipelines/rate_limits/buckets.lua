-- Takes a request from every bucket, or from none when one of them has no room (GCRA, see buckets.py).
--
-- KEYS    statewave:rate-limit:KIND:NAME   theoretical arrival time of the bucket's next request, microseconds since
--                                          1970; lives for LIFE_MS after the last request
-- ARGV    1: now in microseconds since 1970, or '' for the clock of this Redis, which all replicas share
--         2..n+1: requests a minute of each bucket
-- returns for each bucket: microseconds until it is full again, microseconds until it has room (0: it had)
--
-- Microseconds since 1970 stay exact in a double until the year 2255.

local WINDOW = 60000000
local LIFE_MS = 120000

local now
if ARGV[1] == '' then
    local time = redis.call('TIME')
    now = tonumber(time[1]) * 1000000 + tonumber(time[2])
else
    now = tonumber(ARGV[1])
end

local used, steps, waits, refused = {}, {}, {}, false
for i, key in ipairs(KEYS) do
    local limit = tonumber(ARGV[i + 1])
    local step = math.ceil(WINDOW / limit)
    local ahead = tonumber(redis.call('GET', key) or '0') - now
    used[i] = math.min(math.max(ahead, 0), step * limit)
    steps[i] = step
    waits[i] = math.max(used[i] + step - step * limit, 0)
    refused = refused or waits[i] > 0
end

local answer = {}
for i, key in ipairs(KEYS) do
    if not refused then
        used[i] = used[i] + steps[i]
        redis.call('SET', key, string.format('%.0f', now + used[i]), 'PX', LIFE_MS)
    end
    answer[2 * i - 1] = used[i]
    answer[2 * i] = waits[i]
end
return answer
