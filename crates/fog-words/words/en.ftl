# Headlines and the pill
no-checkpoints = No checkpoints are taken, so tasks begin anew after a stop: { $why }. `fog doctor` says what to do
unstored = What you asked for holds, but cannot be stored yet, so a restart would forget it: { $why }. It is stored as soon as that works
headline-working-full = Working at full speed while you are away
headline-working = Working at { $duty } % while you are away
headline-working-in-use = Working at { $duty } % beside you
headline-nothing-to-do = Ready to work. No job is waiting
waits-for-memory = “{ $name }” waits for memory: a task of it may hold { $wanted }, and { $spare } can be lent now
headline-only-paused = Ready to work. { $n ->
    [one] A job is paused,
   *[other] { $n } jobs are paused,
 } and no other waits
headline-finishing = Finishing the running tasks, then stopping
headline-requested = Working on “{ $name }”, because you asked for it now. Everything else waits: { $why }
pill-off = Off
pill-ready = Ready · no jobs
pill-only-paused = Ready · { $n } paused
pill-working = Working · { $n ->
    [one] { $n } task
   *[other] { $n } tasks
}
pill-waiting = Waiting · { $why }
pill-paused = Paused · { $span }

# Reasons
why-off = Contributing is switched off.
why-snoozed = Paused by you.
why-on-battery = Running on battery.
why-on-battery-unknown = It cannot be told whether the device is plugged in.
why-charger = Charging from { $now }, which your settings leave out.
why-charger-unknown = The charger was of a kind that your settings leave out.
why-battery-level = The battery is at { $now }, below your limit of { $limit }.
why-battery-level-unknown = The battery does not say how full it is.
why-battery-temp = The battery has { $now }, your limit is { $limit }.
why-cpu-temp = The processor has { $now }, your limit is { $limit }.
why-cpu-temp-limits = Keeping cool: the processor has { $now }, your limit is { $limit }; working at { $duty } %.
why-cpu-temp-unknown = The processor temperature cannot be read, and your settings stop work then.
why-thermal = The system reports heat: { $now }.
why-thermal-limits = The system reports heat ({ $now }); working at { $duty } %.
why-in-use = You are using this device ({ $now } since the last input; work starts after { $limit }).
why-in-use-unknown = It cannot be told whether somebody uses this device, so nothing runs.
why-inhibited = A program keeps the system awake, such as a video or a call.
why-fullscreen = A program covers the whole screen.
why-exclusive = { $now } is running.
why-other-cpu = Other programs use { $now } of the processor, your limit is { $limit }.
why-metered = The network is metered.
why-disk-free = Only { $now } of disk is free, your limit is { $limit }.
why-ram-available = Only { $now } of memory is available, the limit is { $limit }.
why-schedule = Your week plan says no work at this hour.
why-schedule-limits = The { $now } profile works at { $limit }.
why-energy = Energy is at { $now }, your limit is { $limit }.
why-energy-unknown = The energy source does not answer.
why-fan = The fan turns at { $now }, the limit is { $limit }.
short-off = switched off
short-snoozed = paused
short-on-battery = on battery
short-charger = slow charger
short-battery-level = battery low
short-battery-temp = battery warm
short-cpu-temp = too warm
short-thermal = too warm
short-in-use = in use
short-inhibited = media playing
short-fullscreen = full screen
short-exclusive = program running
short-other-cpu = processor busy
short-metered = metered network
short-disk-free = disk full
short-ram-available = memory full
short-memory = memory lent
short-schedule = week plan
short-energy = energy dear
short-fan = fan loud
# What to do about a reason; commands are tried by a test
hint-off = Switch it on: `fog on`
hint-snoozed = End the pause: `fog snooze 0`
hint-on-battery = Plug the device in, or allow it: `fog settings set run_on_battery=on`
hint-charger = Use another charger, or let any count: `fog settings set chargers=any`
hint-battery-level-lowest = Charge it.
hint-battery-level = Charge it, or lower the limit: `fog settings set battery_stop={ $lower }`
hint-in-use = Run it now anyway: `fog job now { $job }`
hint-inhibited = Run it now anyway: `fog job now { $job }`
hint-fullscreen = Run it now anyway: `fog job now { $job }`
hint-exclusive = Run it now anyway: `fog job now { $job }`
hint-other-cpu = Run it now anyway: `fog job now { $job }`
hint-schedule = Run it now anyway: `fog job now { $job }`
hint-metered = Allow it: `fog settings set stop_when_metered=off`
hint-disk-free-lowest = Free some disk.
hint-disk-free = Free some disk, or lower the limit: `fog settings set disk_free_min={ $lower }`
hint-ram-available-lowest = Close a program.
hint-ram-available = Close a program, or lower the limit: `fog settings set ram_available_min={ $lower }`
hint-energy = Wait, or switch the rule off: `fog settings set energy_source=`
hint-fan = Wait, or lift the limit: `fog settings set quiet_fan_rpm=0`
hint-finishing = Start new tasks again: `fog on`
grid-no-network = No network was joined, so the job waits. `fog network join lan` or an invitation lets it go on.
grid-nobody = No other device is here yet; the job waits for one.
grid-too-few = Each task wants { $wanted } devices, and { $n ->
    [one] one other is here
   *[other] { $n } others are here
}; the job waits for more.
submit-storing = Storing { $n ->
    [one] one file
   *[other] { $n } files
}, { $span } so far. Nothing is submitted before all are stored.
task-of = task { $task } (0–{ $last })
watch-works = It runs.
watch-turn = It waits for its turn: { $n ->
    [one] one other task runs
   *[other] { $n } other tasks run
}.
watch-starts = It is about to start.
watch-paused = It was paused.
watch-paused-there = It stands still on { $devices }: in use, off, too warm, or on battery.
watch-turn-there = It waits for its turn on { $devices }.
hint-estimate-now = Estimate it now anyway: add `--now`
hint-job-paused = Go on: `fog job resume { $job }`
watch-retry = A task failed and is tried again later: { $problem }
watch-gave-up = Stopped waiting after { $span }. Job { $job } is kept and goes on by itself; `fog job show { $job }` tells how it goes.
watch-left = Not waiting any more. Job { $job } is kept and goes on by itself; `fog job show { $job }` tells how it goes, `fog job cancel { $job }` ends it.
watch-percent = { $n } %
watch-compiling = compiling, or about to start
watch-units = { $units } so far
watch-now = “{ $name }” runs now, whatever other programs do; rules that protect the device still hold.

resumes-in = Resumes in { $span }.
resumes-above = Resumes at { $value }.
resumes-below = Resumes at { $value }.
resumes-above-held = Resumes at { $value }, in { $span } at the earliest.
resumes-below-held = Resumes at { $value }, in { $span } at the earliest.
resumes-not-before = Resumes in { $span } at the earliest.
value-unknown = unknown
value-yes = yes
value-no = no
pressure-nominal = nominal
pressure-fair = fair
pressure-serious = serious
pressure-critical = critical
charger-mains = a mains adapter
charger-usb = a USB port
charger-wireless = a wireless pad
profile-full = full
profile-quiet = quiet
off = off

# Quantities
span-seconds = { $n } s
span-minutes = { $n } min
span-hours = { $n } h
span-hours-minutes = { $h } h { $m } min
span-days = { $n ->
    [one] { $n } day
   *[other] { $n } days
}
ago = { $span } ago
units = { $n } { $count ->
    [one] unit
   *[other] units
}
saved-ago = saved { $ago }
not-saved = NOT SAVED: “Storage for jobs” or the disk is full; remove finished jobs, raise the setting, or free some disk
left = { $span } left
estimate-whole = About { $units } in { $span } on this device at full speed: { $tasks ->
    [one] one task
   *[other] { $tasks } tasks, { $atonce } at once
}, { $memory } of memory each.
estimate-unknown = The program does not tell how far it is, so its end cannot be foreseen: { $tasks ->
    [one] one task
   *[other] { $tasks } tasks
}, up to { $memory } of memory each.
estimate-sample = The first task was run for { $span } and used { $units }.

# Pages
page-home = Home
page-jobs = Jobs
page-chat = Chat
more = More
page-network = Network
page-history = History
page-settings = Settings
skip-to-content = Skip to content
navigation = Main navigation

# Home
switch-contributing = Contribute
pause = Pause
pause-30 = 30 min
pause-60 = 1 h
pause-tomorrow = Until tomorrow
end-pause = End the pause
finish-then-stop = Finish, then stop
now = Now
next = Next
today = Today
nothing-running = Nothing is running.
today-line = { $span } · { $units } · { $results ->
    [one] { $results } result
   *[other] { $results } results
}
this-device = this device
for-owner = for { $owner }
kept-frozen = kept where it is
other-reasons = Also
change = Change
try-example = Try an example
try-example-why = See your device finish a real job: a protein search, a picture, a prime number.
drop-here = Drop a .wasm or a job file here
choose-file = Choose a file
empty-jobs = No jobs yet
no-such-jobs = No jobs match

# Jobs
filter-all = All
filter-open = Open
filter-ended = Ended
search-jobs = Search by name
state-queued = queued
state-running = running
state-paused = paused
state-finished = finished
state-failed = failed
state-cancelled = cancelled
job-tasks = { $done } of { $total ->
    [one] { $total } task
   *[other] { $total } tasks
}
job-stored = Job { $id } is stored: { $name } ({ $n ->
    [one] { $n } task
   *[other] { $n } tasks
}). `fog job show { $id }` tells how it goes.
job-submitted = Submitted { $ago }
job-deadline = Given up if not done in { $span }
job-pause = Pause
job-resume = Resume
job-cancel = Cancel job
job-cancel-sure = Cancel “{ $name }”? Finished results are kept; unfinished tasks are dropped.
job-cancel-yes = Cancel the job
job-keep = Keep it
job-remove = Remove
job-remove-sure = Remove “{ $name }” and its results from this device?
job-save = Save results
job-saving = Saving the results, { $span } so far.
job-estimating = Reading { $n ->
    [one] one file
   *[other] { $n } files
} and running the beginning of the job, { $span } so far.
job-mapping = Reading { $n ->
    [one] one file
   *[other] { $n } files
} and placing the tasks, { $span } so far.
chat-carrying = This device carries { $n ->
    [one] one message
   *[other] { $n } messages
} of others to people who cannot be reached now.
job-saved = { $n ->
    [one] { $n } file saved
   *[other] { $n } files saved
} in { $folder }
job-output = Output
job-errors = Errors
job-files = Files
job-log = What happened
job-task-list = Tasks
job-result-picture = The picture so far
job-no-output = Nothing was printed.
task-marks = { $n ->
    [one] one segment kept that can be checked
   *[other] { $n } segments kept that can be checked
}
job-module = program { $id }…
job-hash = Result hash
back = Back
close = Close
cancel = Cancel
show = Show
log-accepted = Accepted
log-result = Task { $task } finished
log-attempt_failed = Task { $task } failed: { $detail }
log-finished = All tasks finished
log-failed = Given up: { $detail }
log-paused = Paused. { $detail }
log-resumed = Resumed
log-cancelled = Cancelled
submitted = Submitted “{ $name }”

# History
history-day = Last day
history-month = Last month
history-duty = Work, % of the time
history-temp = Processor, °C
history-battery = Battery, %
history-load = Other programs, %
history-units = Work units
history-reasons = Why it did not work
history-empty = Nothing recorded yet. The first point appears after a minute.
reason-idle = no jobs waiting

# Settings
group-when = When to work
group-how-much = How much
group-appearance = Appearance
group-about = About
default-is = Default: { $value }
on = on
reset-all = Reset all settings
reset-sure = Return every setting to its default?
reset-yes = Reset
export = Export
import = Import
imported = Settings imported
exported = Settings saved to { $path }
about-version = Fog Compute { $version }
about-data = Data folder: { $folder }
about-attached = Attached to a running daemon
about-checks = Check this device
week-help = Paint with the mouse, or move with the arrow keys and press space to change an hour.
week-hour = { $day } { $hour }:00, { $state }
day-0 = Mon
day-1 = Tue
day-2 = Wed
day-3 = Thu
day-4 = Fri
day-5 = Sat
day-6 = Sun
choice-system = system
choice-en = English
choice-de = Deutsch
choice-light = light
choice-dark = dark
choice-any = any
choice-wired = by cable only
choice-mains = mains adapter only
choice-allow = allow
choice-stop = stop
setting-contributing = Contribute
setting-contributing-why = Lend this device's idle time. The big switch on Home is the same.
setting-run_on_battery = Work on battery
setting-run_on_battery-why = Off protects the battery and the time you have away from a socket.
setting-chargers = Chargers that count
setting-chargers-why = A wireless pad warms the battery; a USB port may give less than the work takes.
setting-battery_stop = Stop below
setting-battery_stop-why = The battery's charge at which work stops.
setting-battery_resume = Resume at
setting-battery_resume-why = A gap above the limit keeps work from starting and stopping all the time.
setting-run_while_in_use = Work while I use the device
setting-run_while_in_use-why = At the lower speed set under “How much”.
setting-idle_after = Idle after
setting-idle_after-why = Time without input after which you count as away.
setting-respect_media = Stop for video, calls and full screen
setting-respect_media-why = While a program keeps the system awake or covers the screen.
setting-exclusive_programs = Stop for these programs
setting-exclusive_programs-why = Names as the system lists them, separated by commas.
setting-other_cpu_stop = Stop when others need the processor
setting-other_cpu_stop-why = Use by all other programs, averaged over 30 seconds.
setting-stop_when_metered = Stop on a metered network
setting-stop_when_metered-why = Jobs on this device need no network, so this is off.
setting-energy_source = Energy source
setting-energy_source-why = A file or address that holds a price or carbon number. Empty switches the rule off.
setting-energy_max = Work up to
setting-energy_max-why = In the unit of the energy source.
setting-week = Week plan
setting-week-why = Full, quiet or off for every hour of the week.
setting-cores = Tasks at once
setting-cores-why = 0 means all cores but one.
setting-memory_share = Memory for jobs
setting-memory_share-why = Share of the available memory that jobs may use together.
setting-duty_idle = Speed while away
setting-duty_idle-why = Share of processor time. Less is cooler and quieter.
setting-duty_in_use = Speed while in use
setting-duty_in_use-why = Only with “Work while I use the device”.
setting-cpu_temp_stop = Processor limit
setting-cpu_temp_stop-why = Work slows down from 9 °C below and stops here.
setting-battery_temp_stop = Battery limit
setting-battery_temp_stop-why = Warm batteries age fast.
setting-storage_cap = Storage for jobs
setting-storage_cap-why = Programs, inputs, results, saved states and chat together.
setting-disk_free_min = Keep free
setting-disk_free_min-why = Work stops when less disk is free.
setting-language = Language
setting-language-why = Of the app and the command line.
setting-theme = Colours
setting-theme-why = Light, dark, or as the system.
setting-notifications = Notifications
setting-notifications-why = When a job fails, stops or finishes.
setting-autostart = Start with the system
setting-autostart-why = In the background, without a window.
setting-keep_awake = Stay awake while working
setting-keep_awake-why = The system does not go to sleep by itself while tasks run on external power.
setting-hold = Shortest time in each state
setting-hold-why = A rule that stopped the work keeps it stopped for so long, and the load of other programs stops it so seldom.
setting-quiet_duty = Speed of the quiet profile
setting-quiet_duty-why = Share of processor time in quiet hours.
setting-quiet_fan_rpm = Fan limit of the quiet profile
setting-quiet_fan_rpm-why = 0 for no limit. Only where the fan can be read.
setting-ram_available_min = Keep available
setting-ram_available_min-why = Work stops when less memory is available.
setting-unknown_cpu_temp = No processor temperature
setting-unknown_cpu_temp-why = What to do when it cannot be read.
setting-unknown_battery = No battery answer
setting-unknown_battery-why = What to do when a battery does not answer.
setting-unknown_idle = No input idle time
setting-unknown_idle-why = What to do when it cannot be told whether somebody is there.
setting-unknown_energy = No energy value
setting-unknown_energy-why = What to do when the source does not answer.
setting-checkpoint_every = Checkpoint every
setting-checkpoint_every-why = A task that is killed loses at most this much work. Pauses save as well.
setting-keep_finished_days = Keep ended jobs
setting-keep_finished_days-why = Then they and their results are removed.
setting-first_run_done = First screen seen
setting-first_run_done-why = Off shows it again.

# First run
welcome = Lend your device's idle time
welcome-1 = Fog Compute runs other people's calculations while you are away, and stops the moment you are back.
welcome-2 = It stays off the battery, keeps cool, and tells you in words what it does and why.
welcome-3 = No account. Nothing leaves this device until you join a network.
welcome-start = Switch on
welcome-later = Not now

# Errors and notices
error-title = That did not work
engine-gone = The engine does not answer. Showing the state of { $ago }.
engine-missing = The engine cannot start, so nothing runs and nothing is shown.
retry = Try again
loading = Loading
notice-finished = “{ $name }” is finished
notice-failed = “{ $name }” failed: { $problem }
notice-stopped = “{ $name }” was paused after failures in a row: { $problem }

# Tray and palette
tray-open = Open Fog Compute
tray-quit = Quit
pill-panel = Why, and pausing
submit-file = Submit a job file or program
estimate-file = Estimate the cost of one
estimating = Running the first task for up to 10 s to see what the job would cost…
estimate-waits = The estimate waits until this device works: { $why }
export-settings = Export settings
import-settings = Import settings
read-anew = Read everything anew
palette = Commands
palette-hint = Type a command
shortcuts = Keyboard shortcuts
shortcut-palette = Commands
shortcut-pages = Go to a page
shortcut-help = This list
shortcut-close = Close
go-to = Go to { $page }
switch-on = Switch contributing on
switch-off = Switch contributing off
run-example = Run example: { $name }

# Network
network-none = Only this device. Nothing listens and nothing is sent until you join a network.
network-this = This device
network-joined = Networks
network-lan = This local network
network-open = The open network
network-group = Group “{ $name }”
network-leave = Leave
network-leave-sure = Tasks of yours that run on its devices start again elsewhere; tasks of theirs that run here are given back.
network-join-lan = Share with this local network
network-invite = Invite a device
network-join = Join
network-join-label = Invitation from another device
network-invite-text = Scan this with the other device, or copy the text into its Network page. Whoever has it becomes a member of “{ $name }”.
network-qr = Invitation as a QR code
network-devices = Devices here
network-nobody = No other device is here yet. Join the same network on it.
network-reach-unknown = Devices on the same network can reach this one. From elsewhere it is not known yet.
network-reach-public = Devices can reach this one from anywhere.
network-reach-relayed = Devices elsewhere reach this one through a relay.
network-clock-slow = The clock of this device is { $span } slow, as most devices here show. Set it, or let the system do so.
network-clock-fast = The clock of this device is { $span } fast, as most devices here show. Set it, or let the system do so.
network-their-clock-ahead = Its clock is { $span } ahead of this device's
network-their-clock-behind = Its clock is { $span } behind this device's
network-data = { $used } in 30 days, without a limit
network-data-cap = { $used } of { $cap } in 30 days
network-data-label = Data used in 30 days
network-link-direct = Direct over { $transport }
network-link-relayed = Relayed over { $transport }
network-resting = Does not work now
network-lends = { $free } of { $slots } places free
network-lent = Runs { $n ->
    [one] one of your tasks
   *[other] { $n } of your tasks
}
network-hosted = { $n ->
    [one] One of its tasks runs here
   *[other] { $n } of its tasks run here
}
setting-device_name = Name of this device
setting-device_name-why = What other devices see. Empty: what the system calls it.
setting-jobs_from_anyone = Jobs from the open network
setting-jobs_from_anyone-why = Without it only trusted groups and the local network give this device work.
setting-jobs_allow = Always take jobs of
setting-jobs_allow-why = Ids of devices or programs, or tags. They are taken whatever else is set.
setting-jobs_deny = Never take jobs of
setting-jobs_deny-why = Ids of devices or programs, or tags.
setting-credit_limit = Most credits owed
setting-credit_limit-why = Tasks wait when lending them would cost more than this beyond what was earned. 0 means no limit.
setting-data_cap = Data in 30 days
setting-data_cap-why = The local network does not count. Near its end nothing large is fetched or served; when it is used up nothing goes over the network. 0 means no limit.
setting-network_when_metered = Network on metered connections
setting-network_when_metered-why = Without it nothing is sent or received there.
setting-network_port = Port for other devices
setting-network_port-why = UDP and TCP. Another one is drawn when it is taken.

where = Where it runs
where-local = This device
where-grid = Other devices
service = Promise
service-bronze = Bronze: one device for each task
service-silver = Silver: two devices that agree
service-gold = Gold: two of three devices agree
prefer = What matters
prefer-balanced = A bit of everything
prefer-fast = The result soon
prefer-cheap = A low price
prefer-green = Little energy
prefer-safe = Little risk
elsewhere = On other devices
elsewhere-nobody = No other device has a task of it now.
promise-open = not decided yet
promise-kept = kept
promise-broken = not kept: { $why }
job-withheld = Waiting: { $why }
job-credits = { $spent } credits paid, { $reserved } put aside
job-checks = { $n ->
    [one] { $n } check of a device
   *[other] { $n } checks of devices
}, { $wrong } found something wrong
choices-show = Show the choices
choices-label = { $n } choices of which none is better in everything, by time and energy. Taken: { $why }
choices-waiting = { $n ->
    [one] One task finds no place now and waits
   *[other] { $n } tasks find no place now and wait
}
map-tasks = { $tasks ->
    [one] { $tasks } task to place
   *[other] { $tasks } tasks to place
}, { $n ->
    [one] one choice
   *[other] { $n } choices of which none is better in everything
}:
map-planned = These numbers are of the first { $n }; the others are placed as devices become free.
trace-changes = { $n ->
    [one] { $n } change
   *[other] { $n } changes
}; { $rejected ->
    [one] { $rejected } impossible reading
   *[other] { $rejected } impossible readings
} rejected
history-written = { $segments ->
    [one] { $segments } segment
   *[other] { $segments } segments
}, { $n ->
    [one] { $n } checkpoint
   *[other] { $n } checkpoints
}
place-offered = asked
place-fetching = gets the files
place-waiting = waits there
place-running = runs
place-paused = stands still
place-checking = result on its way
place-done = has a result
place-lost = out of reach
log-checked = Checked: { $detail }

# Chat
chat-off = Chat is switched off
chat-off-why = With it you write to people near you over Bluetooth, without internet, and to those in the networks you joined. Nothing is sent before.
chat-switch-on = Switch chat on
chat-starting = Chat starts…
chat-choose = Choose a conversation.
chat-threads = Conversations
chat-room = Everybody near
chat-near = Near you
chat-known = Remembered
chat-people = People
chat-people-near = { $n ->
    [0] Nobody near
    [one] One person near
   *[other] { $n } people near
}
chat-unread = { $n ->
    [one] One unread message
   *[other] { $n } unread messages
}
chat-link-gone = Away
chat-link-relayed = Relayed
chat-link-network = Network
chat-link-bluetooth = Bluetooth
chat-favourite = Favourite
chat-verified = Verified
chat-session = Encrypted
chat-blocked = Blocked
chat-bluetooth-off = Bluetooth is off, so only people in your networks can be reached.
chat-bluetooth-why = With it others near you see that this device is there: its number, which stays the same until you wipe everything, and the name you gave yourself.
chat-use-bluetooth = Use Bluetooth
chat-bluetooth-start = Switch Bluetooth on for chat
chat-bluetooth-stop = Switch Bluetooth off for chat
chat-join-network = Join a network
chat-open-room = Chat with everybody near
chat-radio-problem = Bluetooth does not work now
chat-radio-starting = Bluetooth starts…
chat-radio-central = This adapter finds others but cannot be found by them. Whoever has an ordinary one nearby is still reached.
chat-radio-unavailable = Bluetooth cannot be used now.
chat-clock-fast = Your clock is { $span } fast, as { $n } people near agree. Phones ignore messages from clocks that are two minutes off; set it, or let the system do so.
chat-clock-slow = Your clock is { $span } slow, as { $n } people near agree. Phones ignore messages from clocks that are two minutes off; set it, or let the system do so.
chat-clock-ahead-of-one = Your clock and that of somebody near differ: yours is { $span } ahead. One of the two is wrong. Messages between Fog devices arrive all the same; phones ignore clocks that are two minutes off. Compare yours, or let the system set it.
chat-clock-behind-one = Your clock and that of somebody near differ: yours is { $span } behind. One of the two is wrong. Messages between Fog devices arrive all the same; phones ignore clocks that are two minutes off. Compare yours, or let the system set it.
chat-their-clock-ahead = clock { $span } ahead
chat-their-clock-behind = clock { $span } behind
chat-stated = { $time } by their clock
chat-nobody = Nobody is near. People with this app or BitChat appear here when they come within about 30 m.
chat-nobody-network = Nobody is here yet. People in your networks appear when their chat is on.
chat-nobody-known = Nobody was met yet.
chat-you = You
chat-you-are = You are “{ $name }”.
chat-you-said = You: { $text }
chat-a-picture = Picture
chat-a-sound = Voice note
chat-a-file = File
chat-details = Details
chat-who-is-near = Who is near
chat-search = Search this conversation
chat-found = What was found
chat-found-n = { $n ->
    [0] Nothing found
    [one] One message
   *[other] { $n } messages
}
chat-messages = Messages
chat-older = Earlier messages
chat-news = New messages
chat-room-empty = Nothing was said here yet. Everybody near can read what is said in this room.
chat-private-empty = Nothing was said yet. Only the two of you can read what is said here.
chat-yesterday = Yesterday
chat-state-queued = waiting
chat-state-carried = carried by others
chat-carries = This device carries { $count ->
    [one] { $count } message
   *[other] { $count } messages
} for others, sealed, to who cannot be reached now.
chat-state-sent = sent
chat-state-delivered = delivered
chat-state-read = read
chat-state-failed = not sent
chat-again = Send again
chat-picture = Picture { $name }
chat-save = Save { $name } ({ $size })
chat-file-other = This cannot be shown here. It can be saved.
chat-file-gone = The file is not there any more.
chat-file-large = The file has { $size }, and phones take at most { $most }. Nothing was sent.
chat-file-unreadable = The file cannot be read. Nothing was sent.
chat-say-room = Say something to everybody near
chat-say-private = Write a message
chat-send = Send
chat-attach = Attach a file
chat-drop = Files are attached with the paper clip in a private conversation. Nothing was sent.
chat-no-files = Their app takes no files
chat-voice = Record a voice note
chat-voice-left = { $n } s left
chat-voice-cancel = Throw away
chat-voice-send = Send voice note
chat-no-microphone = The microphone cannot be used. Allow it in the system's settings.
chat-room-left = { $used } of { $most } bytes
chat-in-pieces = Longer than one message: it goes out as { $n }
chat-commands = Commands
chat-command-msg = write to one person
chat-command-who = who is here
chat-command-clear = empty this conversation on this device
chat-command-hug = hug somebody, for everybody to see
chat-command-slap = slap somebody with a large trout, for everybody to see
chat-command-block = hide what somebody says
chat-command-unblock = show it again
chat-command-fav = mark somebody as a favourite
chat-command-unfav = take that back
chat-new-group = New group
chat-group-why = A private group of up to 16. Only its members can read what is said in it, and only who made it takes people in or out.
chat-group-mine = You made this group. Each time somebody is taken in or out it gets a new key: who comes reads nothing of before, who goes nothing of after.
chat-group-left = You are not in this group any more. What was said stays until you clear it.
chat-group-out = Left
chat-group-members = Members
chat-group-maker = made the group
chat-group-count = { $n ->
    [one] 1 member
   *[other] { $n } members
}
chat-group-name = Name
chat-group-with = With
chat-group-make = Make the group
chat-group-full = A group has at most { $n } members.
chat-group-choose = Choose somebody…
chat-group-add = Take in
chat-group-remove = Take out
chat-group-remove-sure = Take this person out? They cannot read what is said from now on, and are not told.
chat-group-leave = Leave the group
chat-group-leave-sure = Leave this group? You cannot read what is said from now on. Its other members are not told; only its maker can take you in again.
chat-group-empty = Nothing was said yet. Only the members of this group can read what is said here.
chat-say-group = Write to the group
chat-command-group = make a group, take people in or out, leave
notice-invited = { $name } took you into the group “{ $group }”
chat-board = Board
chat-board-count = Board · { $n ->
    [0] nothing there
    [one] one note
   *[other] { $n } notes
}
chat-board-why = Notes stay here for days and pass from device to device: whoever comes by reads them, also when you are gone.
chat-board-empty = Nothing is on the board.
chat-board-text = A note for everybody who comes by
chat-board-stays = Stays
chat-board-6h = 6 hours
chat-board-day = a day
chat-board-3days = 3 days
chat-board-week = a week
chat-board-urgent = Urgent
chat-board-post = Put it up
chat-board-full = Five notes of yours are there, which is all that others keep. Take one down to put up another.
chat-board-stranger = not met yet
chat-board-until = Until { $when }
chat-board-take-down = Take down
chat-board-take-down-sure = Take this note down? It goes on every device that hears of it. This cannot be undone.
chat-vouched = Vouched for
chat-vouched-by = You verified { $names }, who verified this person. That says who they are only if you trust that they looked.
chat-export-json = As JSON
chat-export-json-why = The same for programs
chat-write = Write
chat-last-heard = Last heard { $ago }
chat-fingerprint = Fingerprint
chat-own-fingerprint = Your own fingerprint
chat-is-verified = Verified: you compared the keys.
chat-not-verified = Not verified. Compare these digits with what their app shows, or scan their code.
chat-compared = I compared the fingerprint
chat-compared-sure = Are all the digits the same as those on the other device? Only then nobody can pretend to be this person.
chat-forget-compared = Not verified any more
chat-verify = Verify with a code
chat-own-code = Your code
chat-own-code-why = Let the other device scan this. It proves your keys and is renewed before its five minutes are over.
chat-code-text = The code as text
chat-scan-label = Text of their code
chat-scan = Check
chat-scan-asked = { $name } is asked to prove the keys. The mark appears when the answer comes.
chat-block = Block
chat-block-sure = Block this person? What they say is hidden from now on, and they are not told. You can take it back.
chat-unblock = Unblock
chat-export = Save as a file
chat-exported = Saved to { $path }
chat-clear = Clear
chat-clear-yes = Clear
chat-clear-sure = Clear this conversation? Its messages and files are deleted on this device; the other one keeps theirs. This cannot be undone.
chat-clear-room-sure = Clear the room? Its messages are deleted on this device; others keep theirs. This cannot be undone.
chat-map-label = Map: { $linked } linked to this device, { $relayed } reached through others
chat-map-me = This device
chat-settings = Chat settings
chat-advanced = Advanced
chat-move = Move to another device
chat-move-why = Saves your keys, the people you know and your groups to a file that a passphrase opens. To others you stay who you are. Messages are not in it.
chat-move-passphrase = Passphrase
chat-move-short = At least { $n } characters: whoever has the file may try as often as they like.
chat-move-save = Save to a file
chat-move-saved = Saved to { $path }. Take it over on the other device, then wipe everything here: two devices of one identity confuse others.
chat-move-take = Take over from a file
chat-move-take-sure = Become who the file says? Who this device is to others is deleted for ever; its messages stay.
chat-move-taken = This device is now who the file says.
chat-wipe = Wipe everything
chat-wipe-why = For an emergency: nothing of chat is left on this device.
chat-wipe-sure = Wipe everything? Your keys, all messages and files, and everybody you know are deleted at once. To others you appear as somebody new, and people who verified you must do so again. This cannot be undone.
chat-wipe-yes = Wipe everything now
notice-chat = { $name }: { $text }
setting-chat = Chat
setting-chat-why = Off: nothing is sent or received, and what was said stays.
setting-chat_nickname = Your name
setting-chat_nickname-why = What others see. Empty: one is made up.
setting-chat_bluetooth = Bluetooth
setting-chat_bluetooth-why = Reaches people nearby without internet. Others near you can see that this device is there.
setting-chat_adapter = Bluetooth adapter
setting-chat_adapter-why = Such as hci0. Empty: the first that works.
setting-chat_receipts = Say what was read
setting-chat_receipts-why = People you write with see when you have read their messages.
setting-chat_keep_days = Keep messages
setting-chat_keep_days-why = Older ones are deleted. 0 keeps them for ever.
setting-chat_quiet_from = Quiet from
setting-chat_quiet_from-why = Hour from which messages give no notification. The same hour twice switches quiet hours off.
setting-chat_quiet_to = Quiet until
setting-chat_quiet_to-why = Hour at which notifications come again.

# Errors of commands about networks
error-network-no-key-to-join = no network can be joined, because the key of this device cannot be had; `fog doctor` says why
error-network-no-key-to-invite = nobody can be invited, because the key of this device cannot be had; `fog doctor` says why
error-network-bad-invitation = { $why }. `fog network join lan` joins the local network, `open` the open one
error-network-own-invitation = this invitation is from this very device; use it on another one
error-network-none-joined = no network was joined
error-network-not-joined = no network called '{ $name }' was joined; `fog network` shows them
error-network-group-not-stored = the group could not be stored, so nobody can be invited into it; is the disk full?
error-network-needs-no-invitation = '{ $name }' is joined without an invitation: `fog network join { $name }`
error-network-bad-group-name = a group's name has 1 to { $most } characters

# Errors of commands about chat
error-chat-unknown-person = nobody called '{ $name }' is known; `fog chat people` lists who is
error-chat-several-people = several people are called '{ $name }': { $found }; say which one
error-chat-off = chat is off; `fog settings set chat=on` switches it on
error-chat-no-device-key = chat needs the key of this device, which cannot be had; `fog doctor` says why
error-chat-keys-do-not-open = the keys of chat do not open with this device's key; `fog chat wipe` begins anew
error-chat-cannot-start = chat cannot start: { $why }
error-chat-busy = chat is too busy now; nothing was sent, try again in a moment
error-chat-nothing-to-send = there is nothing to send
error-chat-text-too-long = a message has at most { $most }; nothing was sent
error-chat-file-to-group = files go to one person or to everybody, not to a group; nothing was sent
error-chat-file-too-large = a file has at most { $most } over Bluetooth; nothing was sent
error-chat-bad-file-size = a file has 1 byte to { $most } over Bluetooth; nothing was sent
error-chat-no-private-files = this person's app takes no private files; nothing was sent
error-chat-no-file = message { $row } has no file
error-chat-cannot-write = { $path } cannot be written: { $why }
error-chat-no-free-name = too many files are called { $name } there
error-chat-unknown-message = there is no message { $row } of this device
error-chat-not-given-up = this message was not given up; it is on its way or has arrived
error-chat-message-unreadable = this message cannot be read any more
error-chat-not-met = nobody with the id { $id } was met yet
error-chat-keys-unreadable = the keys of chat cannot be read
error-chat-own-code = this is this device's own code; scan that of the other person
error-chat-not-here = { $name } is not here now; the code proves nothing without an answer from their device
error-chat-not-in-group = this device is in no group called '{ $name }'; `fog chat group` lists them
error-chat-several-groups = several groups are called '{ $name }'; say which by its id: { $ids }
error-chat-not-group-creator = only { $creator }, who made '{ $group }', changes it; nothing was changed
error-chat-group-as-member = '{ $name }' is a group, and people are taken in; nothing was changed
error-chat-self-as-member = this device is in its groups anyway; nothing was changed
error-chat-already-member = { $name } is in it already; nothing was changed
error-chat-group-full = a group has at most { $most } members; nothing was changed
error-chat-not-member = '{ $name }' is not one of its other members; nothing was changed
error-chat-several-members = '{ $name }' is what several are called; say which by the id; nothing was changed
error-chat-bad-group-name = a group's name has 1 to { $most } bytes; nothing was made
error-chat-too-many-groups = this device is in { $most } groups; leave one first
error-chat-too-many-members = a group has at most { $most } members, this device among them; nothing was made
error-chat-outside-group = say that in the group's own conversation; nothing was changed
error-chat-left-group = this device is not in this group any more; nothing was sent
error-chat-ping-of-group = a group is not at one place; say who
error-chat-too-many-pings = too many are asked already; try again in ten seconds
error-chat-no-answer = { $name } does not answer; they may be out of reach, or their app does not know the question
error-chat-bad-note-size = a note has 1 to { $most } bytes, this one { $size }; nothing was put on the board
error-chat-bad-note-life = a note stays for 1 to 168 hours, which are seven days; nothing was put on the board
error-chat-too-many-notes = { $most } notes of this device are on the board, which is all that others keep; take one down first
error-chat-foreign-note = { $author } wrote this note and alone takes it down; block them to see nothing of theirs
error-chat-unknown-note = there is no note { $id } on the board; `fog chat board` lists them
error-chat-several-notes = several notes begin with { $id }; say more digits
error-chat-file-exists = { $path } is there already; nothing was written
error-chat-file-missing = { $path } cannot be read: { $why }; nothing was changed
error-chat-file-unreadable = { $path } cannot be read: { $why }; nothing was changed
error-chat-no-identity = { $path } is no identity that was saved; nothing was changed
error-chat-identity-too-new = this file is of a later version of the program; nothing was changed
error-chat-wrong-passphrase = the passphrase is another one, or the file was damaged; nothing was changed
error-chat-passphrase-too-short = a passphrase has at least { $least } characters: whoever has the file may try as often as they like; nothing was written
error-chat-no-keys-in-file = the file has no keys; nothing was changed
error-chat-same-identity = this device is that identity already; nothing was changed

# Errors of commands about jobs and tasks
error-tasks-engine-stopped = the engine has stopped; start the app or `fog daemon` again
error-tasks-no-such-example = there is no example named '{ $name }'; `fog submit --list-examples` shows them
error-tasks-already-ended = job { $id } has already ended ({ $state })
error-tasks-not-ended = job { $id } has not ended; cancel it first
error-tasks-runs-elsewhere = job { $id } runs on other devices, and their owners decide when; submit it without --where grid to run it here
error-tasks-of-another-device = job { $id } is of another device; only your own jobs run while you use this one
error-tasks-too-many-run-now = { $most } jobs were already asked for; let some of them end first
error-tasks-bad-grid-options = replicas must lie between 1 and 16, trust between 2 and 1,000,000, spot checks between 0 and 50 %. Nothing was submitted
error-tasks-not-a-module = { $path } is not a WebAssembly module; build the program for wasm32-wasip1
error-tasks-module-too-large = { $path } is larger than { $most }, the job's limit for a module. Nothing was submitted
error-tasks-job-file-too-large = { $path } is too large for a job file. Nothing was submitted
error-tasks-not-text = { $path }: { $why }. Nothing was submitted
error-tasks-path-not-text = the path { $path } is not text (UTF-8), so it cannot be given to the engine. Nothing was submitted
error-tasks-unreadable = { $path } cannot be read: { $why }. Nothing was submitted
error-tasks-not-stored = { $path }: { $why }. Nothing was submitted
error-tasks-no-checkpoint-key = checkpoints cannot be kept here, because their key cannot be had; `fog doctor` says why
error-tasks-checkpoint-too-large = { $path } is { $size }; the storage setting allows a checkpoint of { $most }. Nothing was submitted; raise storage_cap, and try again
error-tasks-no-program = { $path } holds no program: it belongs to an engine; export it there with `fog job export-checkpoint`
error-tasks-program-too-large = the program of the checkpoint is larger than its own limit for a module. Nothing was submitted
error-tasks-unfit-checkpoint = the checkpoint has a name, arguments, an environment or an order of inputs that no job can have; continue it with `fog run --from`
error-tasks-too-much-memory = a task of this job may hold { $footprint } of memory, its files and checkpoints included; this device lends { $most } at most. Nothing was submitted
error-tasks-too-many-estimates = { $most } estimates wait already; let some of them end first. Nothing was submitted
error-tasks-estimate-failed = { $why }. Nothing was submitted
error-tasks-first-task-exited = the first task ended with an error: code { $code }. Nothing was submitted
error-tasks-first-task-failed = the first task ended with an error: { $why }. Nothing was submitted
error-tasks-first-task-reached-units = the first task ended with an error: it reached its limit of work units; `units` among the limits of the job file raises it. Nothing was submitted
error-tasks-first-task-reached-time = the first task ended with an error: it reached its limit of running time; `wall` among the limits of the job file raises it. Nothing was submitted
error-tasks-first-task-reached-memory = the first task ended with an error: it used more memory than its limits allow; `memory` and `disk` among the limits of the job file raise them. Nothing was submitted
error-tasks-first-task-overflowed = the first task ended with an error: the stack overflowed. Nothing was submitted
error-tasks-none-runs = no task of job { $id } runs now; what was saved when it stopped is kept
error-tasks-not-saved = no checkpoint of task { $index }: { $why }
error-tasks-none-saved = no task of job { $id } could be saved; try again
error-tasks-no-such-task = job { $id } has no task { $index }; its tasks are numbered from 0 to { $last }
error-tasks-no-checkpoints = no task of job { $id } has a checkpoint; it has not begun, or has ended
error-tasks-no-checkpoint = the task has no checkpoint yet
error-tasks-unfit-path = { $path } cannot take a checkpoint: { $why }. Nothing was written
error-tasks-no-history = task { $index } of job { $id } keeps no history; set 'segment' in the job file
error-tasks-history-there = { $path } already holds a history; choose another folder
error-tasks-task-not-ended = this task has not ended yet, so there is no output to show
error-tasks-no-such-file = this task left no such file
error-tasks-too-large-to-show = it is too large to show; `fog job result -o FOLDER` saves it, and so does the job's page in the window
error-tasks-results-apart = the tasks of this job keep their results apart; `fog job result { $id } -o results` saves them to a folder
error-tasks-picture-not-in-pieces = a picture is not given in pieces
error-tasks-no-tile-yet = no tile is finished yet
error-tasks-picture-too-large = the picture would have { $width } × { $height } pixels
error-tasks-tile-differs = tile { $index } has { $w } × { $h } pixels, the first { $width } × { $height }
error-tasks-tile-not-png = a tile is not a PNG: { $why }
error-tasks-tile-too-large = a tile is too large
error-tasks-tile-with-palette = a tile uses a palette
error-tasks-no-results-yet = this job has no results yet; nothing was written
error-tasks-unusable-name = a file of task { $index } has a name that no system could keep; nothing was written
error-tasks-result-not-written = { $path } cannot be written: { $why }. The results stay stored, and a file of that name is as it was
error-tasks-job-removed = job { $id } was removed while its results were read. Files that were written before are complete, and nothing else is there

# Errors of commands about placement and other devices
error-exchange-only-here = job { $job } runs on this device alone
error-exchange-nobody-here = no other device is here to place tasks on; `fog peers` shows who is known
error-exchange-no-tasks = the job has no tasks to place

# Errors of commands about settings and duty
error-duty-unknown-setting = there is no setting '{ $key }'; `fog settings list` shows them all
error-duty-conflicting-settings = { $why }. Nothing was changed

# Errors of the engine as a whole
error-engine-not-stored-yet = done, and it holds while the engine runs, but it could not be stored in { $folder } yet ({ $why }). It is stored as soon as that works; a restart before that would forget it
error-chat-not-changed = { $why }; nothing was changed
error-chat-switched-off = chat was switched off before this was stored
