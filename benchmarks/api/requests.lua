-- wrk: GET one of many paths, or POST orders of one of a thousand customers, each request another than the last.
-- Arguments: the method, the path (%s stands for an id), the key of the customer in the body, how many orders there are,
-- and the encoding that is accepted.
local method, path, key, number
local HEADERS = { ["Content-Type"] = "application/json", ["Authorization"] = "Bearer " .. os.getenv("TOKEN") }
local BODY = '{"%s": "%s", "currency": "EUR", "lines": [{"sku": "A-1", "quantity": 1, "unit_price": "9.50"}, '
   .. '{"sku": "A-2", "quantity": 2, "unit_price": "4.00"}]}'

local function id(n)
   return string.format("00000000-0000-7000-8000-%012x", n)
end

function init(args)
   method, path, key, number = args[1], args[2], args[3], tonumber(args[4])
   HEADERS["Accept-Encoding"] = args[5]
   math.randomseed(os.time())
end

function request()
   local body = nil
   if method == "POST" then body = string.format(BODY, key, id(math.random(0, 999))) end
   return wrk.format(method, string.format(path, id(math.random(0, number - 1))), HEADERS, body)
end
