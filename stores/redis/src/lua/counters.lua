local call, floor = redis.call, math.floor

-- Sets a counter for so many milliseconds. Lua's own text of a large number would lose digits.
local function set(key, value, expiry)
    call('SET', key, string.format('%.0f', value), 'PX', floor(expiry) + 1)
end

-- A counter of a calendar window is one number: the first day after the window, times 2^32, plus the count.

-- Returns the first day of a year. Years begin in March here, so that a leap day is the last day of its year.
local function first(year) return 365 * year + floor(year / 4) - floor(year / 100) + floor(year / 400) end

-- Returns the first day after the window that holds this second. Days count from 1970. From March on, five months have
-- 153 days.
local function window_end(kind, second)
    local day = floor(second / 86400)
    if kind == 'day' then return day + 1 end
    day = day + 719468
    local cycle = floor(day / 146097) * 146097
    day = day - cycle
    local year = floor((day - floor(day / 1460) + floor(day / 36524) - floor(day / 146096)) / 365)
    local month = floor((5 * (day - first(year)) + 2) / 153)
    local last = (month == 11) and first(year + 1) or first(year) + floor((153 * (month + 1) + 2) / 5)
    return cycle + last - 719468
end

-- Returns the end and the count of the current window. If the clock stepped back by at most five minutes, it is the
-- window of the counter.
local function window_at(kind, value, second)
    local counted = value and floor(value / 4294967296)
    local rest = value and counted * 86400 - second
    -- Each month has at least 28 days, so that most requests need no arithmetic of months.
    if value and rest > 0 and rest <= (kind == 'day' and 86400 or 2419200) then return counted, value % 4294967296 end
    local last = window_end(kind, second)
    if value and (counted == last or counted == window_end(kind, second + 300)) then
        return counted, value % 4294967296
    end
    return last, 0
end

-- Milliseconds until the counter is of no use. Five minutes are for the step back.
local function window_expiry(last, second) return (last * 86400 - second + 300) * 1000 end
