#!lua name=sluice_dev
-- steps.lua - the atomic changes that Sluice asks of Redis; store.c is their only caller.
--
-- embed.sh replaces `sluice_dev` by a name that holds a hash of this file: a library never changes under its callers,
-- and engines of two versions work side by side on one Redis.
--
-- Each step may be repeated: what was done already is answered as done. Each names every key that it touches, all of
-- one slot. Steps on a lease are fenced: args 1 to 4 are lease, owner, incarnation and hand, and unless the lease is
-- theirs nothing is changed. (Hand: one store of the engine. Two shards share owner and incarnation, never a lease.)
--
-- Every answer begins with a code and the campaign's `state`.
--
-- Steps that a hand asks of a campaign are numbered (replay.h): Redis keeps the last one that each hand had done, and a
-- number that is not beyond it is a repetition, which changes nothing.

local OK, FENCED, GONE, LOST, NOT_YET, UNSETTLED = 1, 0, -1, -2, -3, -4

-- The keys of a campaign, in the order in which every step on a campaign passes them.
local CAMPAIGN, STATUS, RECIPIENTS, LEASES, PARKED, RETRY, HELD, EVENTS, TOTALS, UNIQUE = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
local STEPS = 11
local LEDGER, BATCH, LIST = 12, 13, 14 -- of steps on a lease; LIST: a parked list

-- What stays of a campaign that is done, until it expires. The other keys are gone by then, for they are empty.
local KEPT = {CAMPAIGN, STATUS, RECIPIENTS, EVENTS, TOTALS, UNIQUE, STEPS}

-- Masks of a recipient's two bits within its byte of the ledger, by index % 4, in the order of SETBIT.
local PERMIT = {[0] = 128, 32, 8, 2}
local ENDED = {[0] = 64, 16, 4, 1}

local READ_AT_ONCE = 100 -- entries; so that the limit in bytes is met without reading far beyond it
local ORPHANS_MAX, OWNERS_MAX, LISTS_MAX = 16, 16, 64
local STEPS_KEPT_H = 30 * 24 -- of a hand that takes nothing any more
local DOUBT_AT_ONCE = 1000

local function text(number) return string.format('%.0f', number) end

local function state_of(keys) return redis.call('HGET', keys[CAMPAIGN], 'state') or '' end

-- A state that nobody knows is one that somebody mistyped, hardly because they wanted more to be sent.
local function may_lease(state) return state == '' or state == 'running' or state == 'cancelled' end

-- ---- numbers ----

-- How a step runs: for the first time; again, because Redis has forgotten it; or not at all, for it was done.
local FRESH, AGAIN, DONE = 1, 2, 3
local TAKE, WORK = 1, 2

local function counts_read(keys, hand)
    local take, work, hour = string.match(redis.call('HGET', keys[STEPS], hand) or '', '^(%d+) (%d+) (%d+)$')
    return {tonumber(take or 0), tonumber(work or 0), hour = tonumber(hour or 0)}
end

local function counts_write(keys, hand, counts)
    redis.call('HSET', keys[STEPS], hand, text(counts[TAKE]) .. ' ' .. text(counts[WORK]) .. ' ' .. text(counts.hour))
end

-- Hands come and go with their engines. Two at each new one are looked at, which is more than are added.
local function counts_sweep(keys, hour)
    for _, hand in ipairs(redis.call('HRANDFIELD', keys[STEPS], 2)) do
        if counts_read(keys, hand).hour < hour - STEPS_KEPT_H then redis.call('HDEL', keys[STEPS], hand) end
    end
end

local function lease_parse(entry)
    local owner, incarnation, kind, first, count, hand, call, closing =
        string.match(entry, '^(%S+) (%d+) (%a+) (%d+) (%d+) (%S+) (%d+) ([01])$')
    if not owner then return nil end
    return {owner = owner, incarnation = incarnation, kind = kind, first = tonumber(first), count = tonumber(count),
            hand = hand, call = call, closing = closing == '1'}
end

-- ---- who is waited for ----

-- The process that answers. '' : we are not told.
local function process()
    local info = redis.pcall('INFO', 'server')
    return type(info) == 'string' and string.match(info, 'run_id:(%w+)') or ''
end

-- A process remembers, in its own memory alone, since when it has answered (ms); and for so long which hands are back,
-- and who was said to be dead.
local MUSTER_MS, MISSING_MS = 60000, 500
local awake = {}

-- It was started without any data, and never was a replica: it has nothing to forget.
local function began_empty()
    local info = redis.pcall('INFO', 'persistence', 'replication')
    return type(info) == 'string' and string.find(info, 'rdb_last_load_keys_loaded:0\r') and
           not string.find(info, 'aof_base_size:[1-9]') and string.find(info, 'second_repl_offset:%-1\r')
end

-- For how long engines have asked this process for anything, in ms by its clock.
local function awake_ms()
    local time = redis.call('TIME')
    local now = time[1] * 1000 + math.floor(time[2] / 1000)
    if not awake.since or now < awake.since then
        awake = began_empty() and {since = 0} or {since = now, back = {}, dead = {}}
    end
    if now - awake.since >= MUSTER_MS then awake.back, awake.dead = nil, nil end
    return now - awake.since
end

-- All that this hand had done, and Redis has forgotten, it has done again.
local function is_back(keys, hand)
    if not awake.since then awake_ms() end
    if awake.back then awake.back[keys[STEPS] .. ' ' .. hand] = true end
end

-- Another hand that has leases, and is neither back nor dead, as one of our engine's earlier incarnation is.
local function somebody_missing(keys, args)
    for _, entry in ipairs(redis.call('HVALS', keys[LEASES])) do
        local lease = lease_parse(entry)
        if lease and lease.owner ~= '-' and not awake.back[keys[STEPS] .. ' ' .. lease.hand] and
           not awake.dead[lease.owner .. ' ' .. lease.incarnation] and
           (lease.owner ~= args[2] or lease.incarnation == args[3]) then
            return true
        end
    end
    return false
end

-- For how many ms this process is not to be leased from yet: 0 if it may be. `alone`: a process that nobody but the
-- asker can have leased from. A campaign that was leased from once in a process may be for as long as that lives.
local function unsettled(keys, args, settle, alone)
    local here = process()
    if here ~= '' and redis.call('HGET', keys[STATUS], 'redis') == here then return 0 end
    if here == '' or here ~= alone then
        local age = awake_ms()
        if age < settle then return settle - age end
        if awake.back and somebody_missing(keys, args) then return MISSING_MS end
    end
    if here ~= '' then redis.call('HSET', keys[STATUS], 'redis', here) end
    return 0
end

-- ---- numbered steps ----

-- The last arguments of a numbered step: hand, number, and the numbers of the last step of each kind that has to be
-- done before; 1 if it was done once and is asked for again; how many ms a young process is not to be leased from, and
-- the process for which that does not count (unsettled). Without a step of those before, Redis has forgotten it: LOST.
-- The number is written before anything else: a step that fails half-way was done.
local function numbered(kind, step)
    return function(keys, args)
        local alone, settle, again = table.remove(args), tonumber(table.remove(args)), table.remove(args) == '1'
        local before = {[WORK] = tonumber(table.remove(args)), [TAKE] = tonumber(table.remove(args))}
        local number, hand = tonumber(table.remove(args)), table.remove(args)
        local counts = counts_read(keys, hand)
        local last, hour = counts[kind], counts.hour
        if number <= last then return step(keys, args, DONE) end
        if counts[TAKE] < before[TAKE] or counts[WORK] < before[WORK] then
            return {LOST, state_of(keys)}
        end
        if not again then is_back(keys, hand) end
        local left = settle > 0 and unsettled(keys, args, settle, alone) or 0
        if left > 0 then return {UNSETTLED, state_of(keys), left} end
        if kind == TAKE or hour == 0 then
            counts.hour = math.floor(redis.call('TIME')[1] / 3600)
            if hour == 0 then counts_sweep(keys, counts.hour) end
        end
        counts[kind] = number
        counts_write(keys, hand, counts)
        local answer = step(keys, args, again and AGAIN or FRESH)
        if answer[1] == NOT_YET then
            counts[kind] = last
            counts_write(keys, hand, counts)
        end
        return answer
    end
end

-- Does nothing but count: in the place of a step that changed nothing, or cannot be done again.
local function skip(keys) return {OK, state_of(keys)} end

-- args: hand, and the last of its steps that were answered: a take and a work. Which steps are done.
local function counts(keys, args)
    local known = counts_read(keys, args[1])
    if known[TAKE] >= tonumber(args[2]) and known[WORK] >= tonumber(args[3]) then is_back(keys, args[1]) end
    return {OK, state_of(keys), known[TAKE], known[WORK]}
end

-- ---- leases ----

local function lease_write(keys, name, lease)
    redis.call('HSET', keys[LEASES], name, lease.owner .. ' ' .. lease.incarnation .. ' ' .. lease.kind .. ' ' ..
               text(lease.first) .. ' ' .. text(lease.count) .. ' ' .. lease.hand .. ' ' .. lease.call .. ' ' ..
               (lease.closing and '1' or '0'))
end

local function lease_is(lease, owner, incarnation, hand)
    return lease.owner == owner and lease.incarnation == incarnation and lease.hand == hand
end

-- The lease that args name, or nil and the code to answer with.
local function lease_mine(keys, args)
    local entry = redis.call('HGET', keys[LEASES], args[1])
    if not entry then return nil, GONE end
    local lease = lease_parse(entry)
    if not lease or not lease_is(lease, args[2], args[3], args[4]) then return nil, FENCED end
    return lease, OK
end

-- A campaign that was done has work again: its keys must stay.
local function revive(keys)
    for _, key in ipairs(KEPT) do redis.call('PERSIST', keys[key]) end
    redis.call('HSET', keys[STATUS], 'phase', 'sending', 'reason', '')
    redis.call('HDEL', keys[STATUS], 'done_at')
end

-- Reads by `read(from, to)` as many as fit into `most` and `bytes_max`, but one at least if there is one.
local function read_bounded(read, most, bytes_max)
    local items, bytes = {}, 0
    while #items < most do
        local asked = math.min(most - #items, READ_AT_ONCE)
        local from = #items
        local chunk = read(from, from + asked - 1)
        for _, item in ipairs(chunk) do
            bytes = bytes + #item
            if bytes > bytes_max and #items > 0 then return items end
            items[#items + 1] = item
        end
        if #chunk < asked then return items end
    end
    return items
end

-- Entries of the recipients' list by seq. One longer than the limit is no recipient, whatever follows in it; what it
-- is cut to still tells.
local function read_entries(keys, first, trimmed, count, entry_max)
    local entries = redis.call('LRANGE', keys[RECIPIENTS], first - trimmed, first - trimmed + count - 1)
    for i, entry in ipairs(entries) do
        if #entry > entry_max then entries[i] = string.sub(entry, 1, entry_max + 1) end
    end
    return entries
end

local function trimmed_of(keys) return tonumber(redis.call('HGET', keys[STATUS], 'trimmed') or 0) end

-- What a lease holds, as its step answered the first time.
local function lease_content(keys, lease, entry_max)
    if lease.kind ~= 'list' then return redis.call('LRANGE', keys[BATCH], 0, -1) end
    return read_entries(keys, lease.first, trimmed_of(keys), lease.count, entry_max)
end

-- What the three ways to lease have in common: `take(lease)` takes and returns the items. When Redis has forgotten that
-- it was taken, the very same items are claimed: behind the `fixed` arguments are the lease's first seq and its items,
-- and `claim(lease, items)` says whether they are there (OK, and they are taken), are on their way back (NOT_YET), or
-- went to somebody else (FENCED).
-- args: lease owner incarnation hand most bytes_max entry_max
local function lease_by(keys, args, mode, kind, fixed, take, claim)
    local state = state_of(keys)
    local known, code = lease_mine(keys, args)
    if known then return {OK, state, known.first, lease_content(keys, known, tonumber(args[7]))} end
    if code == FENCED then return {FENCED, state} end
    local claimed = #args > fixed
    if mode == DONE or not (claimed or may_lease(state)) then return {OK, state, 0, {}} end
    local lease = {owner = args[2], incarnation = args[3], hand = args[4], kind = kind, first = 0, call = '0'}
    local items
    if claimed then
        lease.first, items = tonumber(args[fixed + 1]), {unpack(args, fixed + 2)}
        code = claim(lease, items)
        if code ~= OK then return {code, state} end
    else
        items = take(lease)
    end
    lease.count = #items
    if #items > 0 then lease_write(keys, args[1], lease) end
    return {OK, state, lease.first, items}
end

local function list_taken(keys, phase, upto)
    if phase == 'done' or phase == 'cancelled' then revive(keys) end
    redis.call('HSET', keys[STATUS], 'taken', text(upto))
end

-- A range is claimed in its place alone. What was pushed to it, and forgotten, is pushed again.
local function list_claim(keys, lease, items, entry_max)
    local known = redis.call('HMGET', keys[STATUS], 'taken', 'trimmed', 'phase')
    local taken, trimmed = tonumber(known[1] or 0), tonumber(known[2] or 0)
    if taken < lease.first then return NOT_YET end
    if taken > lease.first then return FENCED end
    local there = read_entries(keys, taken, trimmed, #items, entry_max)
    for i, entry in ipairs(there) do
        if entry ~= items[i] then return FENCED end
    end
    if #there < #items then redis.call('RPUSH', keys[RECIPIENTS], unpack(items, #there + 1)) end
    list_taken(keys, known[3], taken + #items)
    return OK
end

local function lease_list(keys, args, mode)
    local entry_max = tonumber(args[7])
    return lease_by(keys, args, mode, 'list', 7, function(lease)
        local known = redis.call('HMGET', keys[STATUS], 'taken', 'trimmed', 'phase')
        local taken, trimmed = tonumber(known[1] or 0), tonumber(known[2] or 0)
        local items = read_bounded(function(from, to)
            return read_entries(keys, taken + from, trimmed, to - from + 1, entry_max)
        end, tonumber(args[5]), tonumber(args[6]))
        if #items == 0 then return items end
        lease.first = taken
        list_taken(keys, known[3], taken + #items)
        return items
    end, function(lease, items) return list_claim(keys, lease, items, entry_max) end)
end

local function parked_taken(keys, isp, items)
    redis.call('RPUSH', keys[BATCH], unpack(items))
    if redis.call('HINCRBY', keys[PARKED], isp, -#items) <= 0 then redis.call('HDEL', keys[PARKED], isp) end
end

-- Whether all of the items are among the first of the parked list, or in it at all.
local function parked_has(keys, items)
    local length, reach = redis.call('LLEN', keys[LIST]), 4 * #items
    while true do
        local there = {}
        for _, item in ipairs(redis.call('LRANGE', keys[LIST], 0, reach - 1)) do
            there[item] = (there[item] or 0) + 1
        end
        local missing = false
        for _, item in ipairs(items) do
            there[item] = (there[item] or 0) - 1
            missing = missing or there[item] < 0
        end
        if not missing then return true end
        if reach >= length then return false end
        reach = 16 * reach
    end
end

-- args[8]: the ISP whose list is keys[LIST].
local function lease_parked(keys, args, mode)
    return lease_by(keys, args, mode, 'parked', 8, function()
        local items = read_bounded(function(from, to) return redis.call('LRANGE', keys[LIST], from, to) end,
                                   tonumber(args[5]), tonumber(args[6]))
        if #items == 0 then return items end
        redis.call('LTRIM', keys[LIST], #items, -1)
        parked_taken(keys, args[8], items)
        return items
    end, function(_, items)
        if not parked_has(keys, items) then return NOT_YET end
        for _, item in ipairs(items) do redis.call('LREM', keys[LIST], 1, item) end
        parked_taken(keys, args[8], items)
        return OK
    end)
end

-- args[8]: due at or before, UTC in ms.
local function lease_retry(keys, args, mode)
    return lease_by(keys, args, mode, 'retry', 8, function()
        local items = read_bounded(function(from, to)
            return redis.call('ZRANGEBYSCORE', keys[RETRY], '-inf', args[8], 'LIMIT', from, to - from + 1)
        end, tonumber(args[5]), tonumber(args[6]))
        if #items == 0 then return items end
        redis.call('ZREMRANGEBYRANK', keys[RETRY], 0, #items - 1)
        redis.call('RPUSH', keys[BATCH], unpack(items))
        return items
    end, function(_, items)
        for _, item in ipairs(items) do
            if not redis.call('ZSCORE', keys[RETRY], item) then return NOT_YET end
        end
        redis.call('ZREM', keys[RETRY], unpack(items))
        redis.call('RPUSH', keys[BATCH], unpack(items))
        return OK
    end)
end

-- args: lease owner incarnation hand call from_owner from_incarnation entry_max
-- `call` tells this adoption repeated from another one by the same hand, which must not have the lease twice.
-- One that was adopted, and is not to be had after Redis has forgotten it, is on its way back.
local function adopt(keys, args, mode)
    local state = state_of(keys)
    local entry = redis.call('HGET', keys[LEASES], args[1])
    if not entry then return {mode == AGAIN and NOT_YET or GONE, state} end
    local lease = lease_parse(entry)
    if not lease then return {FENCED, state} end
    if not (lease_is(lease, args[2], args[3], args[4]) and lease.call == args[5]) then
        local ours = lease.owner == args[2] and lease.incarnation == args[3]
        local theirs = lease.owner == args[6] and lease.incarnation == args[7]
        if mode == DONE or ours or not theirs then
            return {mode == AGAIN and NOT_YET or FENCED, state}
        end
        lease.owner, lease.incarnation, lease.hand, lease.call = args[2], args[3], args[4], args[5]
        lease.closing = false
        lease_write(keys, args[1], lease)
    end
    return {OK, state, lease.first, lease.kind == 'list' and 0 or 1, redis.call('GET', keys[LEDGER]) or '',
            lease_content(keys, lease, tonumber(args[8]))}
end

local function release(keys, args, mode)
    local state = state_of(keys)
    local entry = redis.call('HGET', keys[LEASES], args[1])
    local lease = entry and lease_parse(entry)
    if not lease then return {entry and FENCED or GONE, state} end
    if lease.owner ~= '-' then
        if not lease_is(lease, args[2], args[3], args[4]) then return {FENCED, state} end
        if mode == DONE then return {OK, state} end
        lease.owner, lease.incarnation, lease.hand, lease.call = '-', '0', '-', '0'
        lease.closing = false
        lease_write(keys, args[1], lease)
    end
    return {OK, state}
end

-- args: owner incarnation hand upto. Redis has forgotten more than can be done again. Whoever was leased by this hand
-- and has not ended may have had a message by now, and whoever stands in the list before `upto`, too: who takes over
-- finds a permit, and says that they are in doubt. Their ledgers are not named as keys: nobody knows how many they are.
local function doubt(keys, args)
    local known = redis.call('HMGET', keys[STATUS], 'taken', 'trimmed')
    local taken, trimmed = tonumber(known[1] or 0), tonumber(known[2] or 0)
    local upto = math.min(tonumber(args[4]), trimmed + redis.call('LLEN', keys[RECIPIENTS]))
    while taken < upto do
        local count = math.min(upto - taken, DOUBT_AT_ONCE)
        lease_write(keys, 'lost:' .. args[2] .. ':' .. text(taken),
                    {owner = args[1], incarnation = args[2], hand = args[3], kind = 'list', first = taken,
                     count = count, call = '0'})
        taken = taken + count
        redis.call('HSET', keys[STATUS], 'taken', text(taken))
    end
    local leases = redis.call('HGETALL', keys[LEASES])
    for at = 1, #leases, 2 do
        local lease = lease_parse(leases[at + 1])
        if lease and lease_is(lease, args[1], args[2], args[3]) then
            local ledger = string.gsub(keys[STEPS], 'steps$', function() return 'ledger:' .. leases[at] end)
            for index = 0, lease.count - 1 do
                if redis.call('GETBIT', ledger, 2 * index + 1) == 0 then redis.call('SETBIT', ledger, 2 * index, 1) end
            end
            lease.owner, lease.incarnation, lease.hand, lease.call, lease.closing = '-', '0', '-', '0', false
            lease_write(keys, leases[at], lease)
        end
    end
    return {OK, state_of(keys)}
end

-- The list goes behind the oldest open lease. While an older one than `lease` is open, `lease` holds nothing back.
local function trim(keys, lease)
    local known = redis.call('HMGET', keys[STATUS], 'taken', 'trimmed')
    local oldest, trimmed = tonumber(known[1] or 0), tonumber(known[2] or 0)
    if lease.first > trimmed then return end
    for _, entry in ipairs(redis.call('HVALS', keys[LEASES])) do
        local other = lease_parse(entry)
        if other and other.kind == 'list' and other.first < oldest then oldest = other.first end
    end
    if oldest > trimmed then
        redis.call('LTRIM', keys[RECIPIENTS], oldest - trimmed, -1)
        redis.call('HSET', keys[STATUS], 'trimmed', text(oldest))
    end
end

-- ---- the ledger ----

local function ledger_read(keys)
    return {bytes = {string.byte(redis.call('GET', keys[LEDGER]) or '', 1, -1)}, low = math.huge, high = 0}
end

local function ledger_has(ledger, masks, index)
    local mask = masks[index % 4]
    return (ledger.bytes[math.floor(index / 4) + 1] or 0) % (2 * mask) >= mask
end

local function ledger_put(ledger, masks, index, on)
    if ledger_has(ledger, masks, index) == on then return end
    local at, mask = math.floor(index / 4) + 1, masks[index % 4]
    ledger.bytes[at] = (ledger.bytes[at] or 0) + (on and mask or -mask)
    ledger.low, ledger.high = math.min(ledger.low, at), math.max(ledger.high, at)
end

-- Only the bytes that changed are written, for they also go to the append-only file and the replicas.
local function ledger_write(keys, ledger)
    if ledger.high == 0 then return end
    for at = ledger.low, ledger.high do ledger.bytes[at] = ledger.bytes[at] or 0 end
    redis.call('SETRANGE', keys[LEDGER], ledger.low - 1, string.char(unpack(ledger.bytes, ledger.low, ledger.high)))
end

-- args[5]: number of permits; their indices; the indices of those withdrawn
local function permit(keys, args, mode)
    local state = state_of(keys)
    local lease, code = lease_mine(keys, args)
    if not lease or mode == DONE then return {code, state} end
    local ledger, permits = ledger_read(keys), tonumber(args[5])
    for at = 6, #args do
        local index = tonumber(args[at])
        if index >= lease.count then return redis.error_reply('ERR no such index in the lease') end
        ledger_put(ledger, PERMIT, index, at < 6 + permits)
    end
    ledger_write(keys, ledger)
    return {OK, state}
end

-- The kinds of an end: how many arguments follow the event's fields, and what becomes of them.
local END_KINDS = {
    E = {0},
    R = {2, function(moved, args, at) -- due_ms record
        moved.retry[#moved.retry + 1] = args[at]
        moved.retry[#moved.retry + 1] = args[at + 1]
    end},
    H = {1, function(moved, args, at) moved.held[#moved.held + 1] = args[at] end}, -- record
    P = {3, function(moved, args, at) -- number of the list among the parked ones, its ISP, record
        local number = tonumber(args[at])
        local list = moved.parked[number]
        if not list then
            list = {isp = args[at + 1], records = {}}
            moved.parked[number] = list
        end
        list.records[#list.records + 1] = args[at + 2]
    end},
}

local function end_move(keys, moved)
    if #moved.retry > 0 then redis.call('ZADD', keys[RETRY], unpack(moved.retry)) end
    if #moved.held > 0 then redis.call('RPUSH', keys[HELD], unpack(moved.held)) end
    for number = 1, #keys - BATCH do
        local list = moved.parked[number]
        if list then
            redis.call('RPUSH', keys[BATCH + number], unpack(list.records))
            redis.call('HINCRBY', keys[PARKED], list.isp, #list.records)
        end
    end
end

local function end_close(keys, name, lease, ledger)
    for index = 0, lease.count - 1 do
        if not ledger_has(ledger, ENDED, index) then return false end
    end
    redis.call('HDEL', keys[LEASES], name)
    redis.call('DEL', keys[LEDGER], keys[BATCH])
    if lease.kind == 'list' then trim(keys, lease) end
    return true
end

-- args[5]: close or not; args[6]: number of ends; for each: kind, index, number of the event's strings, the event's
-- fields and values (`type` first), and what its kind adds. The third of the answer: 1 if the lease was closed.
-- A close that comes too early is remembered, for a step that Redis refused for a while is overtaken by those behind it.
local function end_(keys, args, mode)
    local state = state_of(keys)
    local lease, code = lease_mine(keys, args)
    if not lease then return {code, state} end
    if mode == DONE then return {OK, state, 0} end
    local ledger = ledger_read(keys)
    local moved, types, totals, events = {retry = {}, held = {}, parked = {}}, {}, {}, {}
    local at = 7
    for _ = 1, tonumber(args[6]) do
        local kind, index, event_size = END_KINDS[args[at]], tonumber(args[at + 1]), tonumber(args[at + 2])
        if index >= lease.count then return redis.error_reply('ERR no such index in the lease') end
        local event, after = at + 3, at + 3 + event_size
        at = after + kind[1]
        if not ledger_has(ledger, ENDED, index) then
            ledger_put(ledger, ENDED, index, true)
            if kind[2] then kind[2](moved, args, after) end
            if event_size > 0 then
                local event_type = args[event + 1]
                if not totals[event_type] then types[#types + 1] = event_type end
                totals[event_type] = (totals[event_type] or 0) + 1
                events[#events + 1] = event
            end
        end
    end
    end_move(keys, moved)
    for _, event in ipairs(events) do
        redis.call('XADD', keys[EVENTS], '*', unpack(args, event, event + tonumber(args[event - 1]) - 1))
    end
    for _, event_type in ipairs(types) do redis.call('HINCRBY', keys[TOTALS], event_type, totals[event_type]) end
    local close = args[5] == '1'
    if (close or lease.closing) and end_close(keys, args[1], lease, ledger) then return {OK, state, 1} end
    ledger_write(keys, ledger)
    if close and not lease.closing then
        lease.closing = true
        lease_write(keys, args[1], lease)
    end
    return {OK, state, 0}
end

-- ---- the campaign ----

-- args: seq address seq address ... The first seq that names an address has it for ever.
local function unique(keys, args)
    local ours = {}
    for at = 1, #args, 2 do
        local fresh = redis.call('HSETNX', keys[UNIQUE], args[at + 1], args[at]) == 1
        ours[#ours + 1] = (fresh or redis.call('HGET', keys[UNIQUE], args[at + 1]) == args[at]) and '1' or '0'
    end
    return {OK, state_of(keys), ours}
end

local function pairs_sorted(flat, before)
    local sorted = {}
    for at = 1, #flat, 2 do sorted[#sorted + 1] = {flat[at], flat[at + 1]} end
    table.sort(sorted, before)
    return sorted
end

-- args: as of look. Leases that this engine may adopt: name, owner, incarnation of each; and who else has leases:
-- owner, incarnation of each. Where there are more leases than an answer holds, each look begins elsewhere among them, so that
-- engines that share a dead one's work seldom reach for the same.
local function orphans_of(keys, args)
    local dead, seen, orphans, owners = {}, {}, {}, {}
    for at = 4, #args, 2 do
        dead[args[at] .. ' ' .. args[at + 1]] = true
        if awake.dead then awake.dead[args[at] .. ' ' .. args[at + 1]] = true end
    end
    local by_name = pairs_sorted(redis.call('HGETALL', keys[LEASES]), function(a, b) return a[1] < b[1] end)
    local first = #by_name > ORPHANS_MAX and tonumber(args[3]) or 0
    for i = 1, #by_name do
        local entry = by_name[(i - 1 + first) % #by_name + 1]
        local lease = lease_parse(entry[2])
        local owner = lease and lease.owner .. ' ' .. lease.incarnation
        local earlier = lease and lease.owner == args[1] and lease.incarnation ~= args[2]
        if lease and (lease.owner == '-' or earlier or dead[owner]) and #orphans < 3 * ORPHANS_MAX then
            orphans[#orphans + 1] = entry[1]
            orphans[#orphans + 1] = lease.owner
            orphans[#orphans + 1] = lease.incarnation
        end
        if lease and lease.owner ~= '-' and lease.owner ~= args[1] and not seen[owner] and
           #owners < 2 * OWNERS_MAX then
            seen[owner] = true
            owners[#owners + 1] = lease.owner
            owners[#owners + 1] = lease.incarnation
        end
    end
    return orphans, owners
end

-- args: owner incarnation random, and of each engine that is known to be dead its owner and incarnation
-- Where there are more parked lists than an answer holds, each look shows others.
local function look(keys, args)
    awake_ms()
    local hash = redis.call('HGETALL', keys[CAMPAIGN])
    local status = redis.call('HMGET', keys[STATUS], 'taken', 'trimmed', 'phase', 'reason')
    local pushed = tonumber(status[2] or 0) + redis.call('LLEN', keys[RECIPIENTS])
    local lists, parked = {}, 0
    local longest_first = pairs_sorted(redis.call('HGETALL', keys[PARKED]), function(a, b)
        local m, n = tonumber(a[2]), tonumber(b[2])
        return m > n or (m == n and a[1] < b[1])
    end)
    local first = #longest_first > LISTS_MAX and tonumber(args[3]) or 0
    for i, list in ipairs(longest_first) do
        parked = parked + tonumber(list[2])
        if (i - 1 + first) % #longest_first < LISTS_MAX then
            lists[#lists + 1] = list[1]
            lists[#lists + 1] = tonumber(list[2])
        end
    end
    local due = redis.call('ZRANGE', keys[RETRY], 0, 0, 'WITHSCORES')[2]
    local orphans, owners = orphans_of(keys, args)
    return {OK, state_of(keys), tonumber(status[1] or 0), pushed, parked, redis.call('ZCARD', keys[RETRY]),
            redis.call('LLEN', keys[HELD]), redis.call('HLEN', keys[LEASES]), tonumber(due or 0), status[3] or '',
            status[4] or '', redis.call('HGETALL', keys[TOTALS]), orphans, lists, redis.call('XLEN', keys[EVENTS]),
            hash, owners}
end

-- args: first count entry_max. The third of the answer: the first seq that is still in the list.
local function entries(keys, args)
    local first, trimmed, found = tonumber(args[1]), trimmed_of(keys), {}
    if first >= trimmed then found = read_entries(keys, first, trimmed, tonumber(args[2]), tonumber(args[3])) end
    return {OK, state_of(keys), trimmed, found}
end

-- Whether any recipient still waits for something.
local function owed(keys)
    local status = redis.call('HMGET', keys[STATUS], 'taken', 'trimmed')
    return tonumber(status[2] or 0) + redis.call('LLEN', keys[RECIPIENTS]) > tonumber(status[1] or 0) or
           redis.call('EXISTS', keys[LEASES], keys[PARKED], keys[RETRY], keys[HELD]) > 0
end

-- args: phase reason. The third of the answer: 1 if it is `sending` and has not been announced as started.
-- A campaign that has ended keeps its phase, unless something is owed again.
local function phase(keys, args)
    local state = state_of(keys)
    local known = redis.call('HMGET', keys[STATUS], 'phase', 'reason', 'started_at')
    if known[1] == 'done' or known[1] == 'cancelled' then
        if not owed(keys) then return {OK, state, 0} end
        revive(keys)
    end
    if known[1] ~= args[1] or known[2] ~= args[2] then
        redis.call('HSET', keys[STATUS], 'phase', args[1], 'reason', args[2])
    end
    return {OK, state, args[1] == 'sending' and not known[3] and 1 or 0}
end

-- args: phase keep_s done_at. The third of the answer: 1 if it has ended.
local function finish(keys, args)
    local state = state_of(keys)
    if owed(keys) then return {OK, state, 0} end
    if redis.call('HGET', keys[STATUS], 'phase') ~= args[1] then
        redis.call('HSET', keys[STATUS], 'phase', args[1], 'reason', '', 'done_at', args[3])
        for _, key in ipairs(KEPT) do redis.call('EXPIRE', keys[key], args[2]) end
    end
    return {OK, state, 1}
end

-- The look after a campaign was taken off the set. The third of the answer: 1 if it must be put back.
local function again(keys)
    local state = state_of(keys)
    if not owed(keys) then return {OK, state, 0} end
    local known = redis.call('HGET', keys[STATUS], 'phase')
    if known == 'done' or known == 'cancelled' then revive(keys) end
    return {OK, state, 1}
end

-- ---- events that were read ----

local function id_parse(id)
    local ms, seq = string.match(id, '^(%d+)-(%d+)$')
    return {tonumber(ms), tonumber(seq)}
end

local function earlier(a, b) return (a[1] < b[1] or (a[1] == b[1] and a[2] < b[2])) and a or b end

-- What some group has not acknowledged begins here, or later. Without a group: at the very first entry.
local function unread_from(keys)
    local first, groups = {math.huge, 0}, redis.call('XINFO', 'GROUPS', keys[EVENTS])
    for _, flat in ipairs(groups) do
        local group = {}
        for at = 1, #flat, 2 do group[flat[at]] = flat[at + 1] end
        local delivered = id_parse(group['last-delivered-id'])
        first = earlier(first, {delivered[1], delivered[2] + 1})
        if group.pending > 0 then
            first = earlier(first, id_parse(redis.call('XPENDING', keys[EVENTS], group.name)[2]))
        end
    end
    return #groups > 0 and first or {0, 0}
end

-- args: events_max bite_ms. Of events_max entries or more, those go that all groups acknowledged; but none later than
-- bite_ms after the oldest, for to trim millions at once holds up everybody. The third of the answer: what is left.
local function trim_events(keys, args)
    local count = redis.call('XLEN', keys[EVENTS])
    if count > 0 and count >= tonumber(args[1]) then
        local bite = id_parse(redis.call('XRANGE', keys[EVENTS], '-', '+', 'COUNT', 1)[1][1])
        local upto = earlier({bite[1] + tonumber(args[2]), bite[2]}, unread_from(keys))
        count = count - redis.call('XTRIM', keys[EVENTS], 'MINID', text(upto[1]) .. '-' .. text(upto[2]))
    end
    return {OK, state_of(keys), count}
end

-- ---- recipients in doubt that people have decided about ----

-- args: number of records; for each: kind, the record as it is held, and what its kind adds: `R`, it is sent again:
-- due_ms; `D`, it is not: the number of its event's strings, and they. What is held no more is passed over. The third
-- of the answer: how many were held.
local function resolve(keys, args)
    local at, found = 2, 0
    for _ = 1, tonumber(args[1]) do
        local kind, record, last = args[at], args[at + 1], at + 2
        if kind == 'D' then last = last + tonumber(args[at + 2]) end
        if redis.call('LREM', keys[HELD], 1, record) == 1 then
            found = found + 1
            if kind == 'R' then
                redis.call('ZADD', keys[RETRY], args[last], record)
            else
                redis.call('XADD', keys[EVENTS], '*', unpack(args, at + 3, last))
                redis.call('HINCRBY', keys[TOTALS], args[at + 4], 1)
            end
        end
        at = last + 1
    end
    return {OK, state_of(keys), found}
end

-- ---- engines and sources: one key each ----

-- args: incarnation previous life_ms. `previous` is the incarnation before, if whoever asks knows that it is dead. The
-- second of the answer: which incarnation of this id is alive otherwise.
local function beat(keys, args)
    local holder = redis.call('GET', keys[1])
    if holder and holder ~= args[1] and holder ~= args[2] then return {0, holder} end
    redis.call('SET', keys[1], args[1], 'PX', args[3])
    return {1, args[1]}
end

-- args: engine life_ms. The second of the answer: who has it otherwise.
local function hold(keys, args)
    local holder = redis.call('GET', keys[1])
    if holder and holder ~= args[1] then return {0, holder} end
    redis.call('SET', keys[1], args[1], 'PX', args[2])
    return {1, args[1]}
end

-- args: who lets go
local function let_go(keys, args)
    if redis.call('GET', keys[1]) == args[1] then redis.call('DEL', keys[1]) end
    return {1, ''}
end

-- args: scope value. The first of the answer: 1 if it stood there and was taken out.
local function control_remove(keys, args)
    if redis.call('HGET', keys[1], args[1]) ~= args[2] then return {0, ''} end
    return {redis.call('HDEL', keys[1], args[1]), ''}
end

-- ---- the suppression list: a bucket and its strikes ----

-- Strikes are words "when:class:campaign:seq:attempt". Those that are not older than keep_ms, and how many of them are
-- of this class and not older than within_ms.
local function strikes_left(words, class, now, within, keep)
    local left, count = {}, 0
    for word in string.gmatch(words or '', '%S+') do
        local when, of = string.match(word, '^(%d+):([^:]*):')
        local age = when and now - tonumber(when)
        if age and age <= keep then
            left[#left + 1] = word
            if of == class and age <= within then count = count + 1 end
        end
    end
    return left, count
end

-- What nobody adds to any more goes with what comes to others: two at each step are more than are added.
local function strikes_sweep(strikes, now, keep)
    for _, key in ipairs(redis.call('HRANDFIELD', strikes, 2)) do
        if #strikes_left(redis.call('HGET', strikes, key), '', now, 0, keep) == 0 then
            redis.call('HDEL', strikes, key)
        end
    end
end

-- args: key value class campaign seq attempt now_ms after within_ms keep_ms. 1: the key is on the list by this.
local function strike(keys, args)
    local key, value, now = args[1], args[2], tonumber(args[7])
    local listed = redis.call('HGET', keys[1], key)
    if listed then return listed == value and 1 or 0 end
    if args[8] ~= '1' then
        local tail = table.concat({args[3], args[4], args[5], args[6]}, ':')
        local left, count = strikes_left(redis.call('HGET', keys[2], key), args[3], now, tonumber(args[9]),
                                         tonumber(args[10]))
        for _, word in ipairs(left) do
            if string.match(word, '^%d+:(.*)$') == tail then return 0 end
        end
        left[#left + 1] = args[7] .. ':' .. tail
        if count + 1 < tonumber(args[8]) then
            redis.call('HSET', keys[2], key, table.concat(left, ' '))
            strikes_sweep(keys[2], now, tonumber(args[10]))
            return 0
        end
    end
    redis.call('HDEL', keys[2], key)
    redis.call('HSET', keys[1], key, value)
    return 1
end

-- args: keys. How many were on the list.
local function unsuppress(keys, args)
    redis.call('HDEL', keys[2], unpack(args))
    return redis.call('HDEL', keys[1], unpack(args))
end

-- What a lane has learned. args: field version text; "" takes it out. A newer version stays.
local function lane(keys, args)
    local known = redis.call('HGET', keys[1], args[1])
    if known and tonumber(string.match(known, '^%d+') or 0) > tonumber(args[2]) then return {0, ''} end
    if args[3] == '' then
        redis.call('HDEL', keys[1], args[1])
    else
        redis.call('HSET', keys[1], args[1], args[2] .. ' ' .. args[3])
    end
    return {1, ''}
end

local function register(flags, functions)
    for at = 1, #functions, 2 do
        redis.register_function{function_name = 'sluice_dev_' .. functions[at], callback = functions[at + 1],
                                flags = flags}
    end
end

register({}, {'lease_list', numbered(TAKE, lease_list), 'lease_parked', numbered(TAKE, lease_parked),
              'lease_retry', numbered(TAKE, lease_retry), 'unique', numbered(TAKE, unique),
              'phase', phase, 'finish', finish, 'again', again})
-- A Redis at its maxmemory gives out nothing new, but what was leased is brought to its end.
register({'allow-oom'}, {'adopt', numbered(TAKE, adopt), 'release', numbered(WORK, release),
                         'permit', numbered(WORK, permit), 'end', numbered(WORK, end_),
                         'skip_take', numbered(TAKE, skip), 'skip_work', numbered(WORK, skip), 'doubt', doubt,
                         'trim_events', trim_events,
                         'resolve', resolve, 'beat', beat, 'hold', hold, 'let_go', let_go, 'lane', lane,
                         'control_remove', control_remove, 'strike', strike, 'unsuppress', unsuppress})
register({'no-writes'}, {'look', look, 'entries', entries, 'counts', counts})
