-- Queens on a board of nine: recursion and tables of booleans.
local function queens(n)
  local found, columns, rising, falling = 0, {}, {}, {}
  local function place(row)
    if row > n then found = found + 1 return end
    for c = 1, n do
      if not columns[c] and not rising[row + c] and not falling[row - c] then
        columns[c], rising[row + c], falling[row - c] = true, true, true
        place(row + 1)
        columns[c], rising[row + c], falling[row - c] = nil, nil, nil
      end
    end
  end
  place(1)
  return found
end
-- The same numbers everywhere: no `math.random`.
local state = 1
local function random()
  state = (state * 1103515245 + 12345) % 2147483648
  return state
end
local function sorted(n)
  local t = {}
  for i = 1, n do t[i] = { key = random(), text = "n" .. i } end
  table.sort(t, function(a, b) return a.key < b.key end)
  return t[1].text, t[n // 2].key
end
local function strings(n)
  local parts, counts = {}, {}
  for i = 1, n do parts[#parts + 1] = string.format("%x:%05.2f", random() % 4096, i / 7) end
  local text = table.concat(parts, " ")
  for word in text:gmatch("%x+:") do counts[word] = (counts[word] or 0) + 1 end
  local most = 0
  for _, count in pairs(counts) do most = math.max(most, count) end
  return #text, most, #text:gsub("0", "zero"):reverse():upper()
end
local function integral(f, from, to, steps)
  local width, sum = (to - from) / steps, 0.0
  for i = 0, steps - 1 do sum = sum + f(from + (i + 0.5) * width) end
  return sum * width
end
local function polynomial(...)
  local factors = { ... }
  return function(x)
    local y = 0.0
    for i = #factors, 1, -1 do y = y * x + factors[i] end
    return y
  end
end
print(queens(9))
print(sorted(200000))
print(strings(200000))
print(string.format("%.12f", integral(polynomial(1, -2, 0.5, 3, -0.25), 0, 2, 2000000)))
