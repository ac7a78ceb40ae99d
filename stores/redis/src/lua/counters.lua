local call, floor = redis.call, math.floor

-- Sets a counter for so many milliseconds. Lua's own text of a large number would lose digits.
local function set(key, value, expiry)
    call('SET', key, string.format('%.0f', value), 'PX', floor(expiry) + 1)
end

-- A counter of a calendar window is one number: the first day after the window, times 2^32, plus the count. Days count from
-- 1970. The function returns the end and the count of the current window. If the clock stepped back by at most five
-- minutes, it is the window of the counter.
local function window_at(kind, value, second)
    local counted = value and floor(value / 4294967296)
    local rest = value and counted * 86400 - second
    -- Each month has at least 28 days, so that most requests need no arithmetic of months.
    if value and rest > 0 and rest <= (kind == 'day' and 86400 or 2419200) then return counted, value % 4294967296 end

    -- Years begin in March here, so that a leap day is the last day of its year.
    local function first(year) return 365 * year + floor(year / 4) - floor(year / 100) + floor(year / 400) end
    local function window_end(second)
        local day = floor(second / 86400)
        if kind == 'day' then return day + 1 end
        day = day + 719468
        local cycle = floor(day / 146097) * 146097
        day = day - cycle
        local year = floor((day - floor(day / 1460) + floor(day / 36524) - floor(day / 146096)) / 365)
        -- From March on, five months have 153 days.
        local month = floor((5 * (day - first(year)) + 2) / 153)
        local last = (month == 11) and first(year + 1) or first(year) + floor((153 * (month + 1) + 2) / 5)
        return cycle + last - 719468
    end
    local last = window_end(second)
    if value and (counted == last or counted == window_end(second + 300)) then return counted, value % 4294967296 end
    return last, 0
end
