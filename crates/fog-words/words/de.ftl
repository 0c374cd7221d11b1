# Headlines and the pill
no-checkpoints = Es gibt keine Zwischenstände, Aufgaben beginnen nach einem Halt von vorn: { $why }. `fog doctor` sagt, was zu tun ist
unstored = Was du wolltest, gilt, kann aber noch nicht gespeichert werden, ein Neustart würde es vergessen: { $why }. Es wird gespeichert, sobald das geht
headline-working-full = Arbeitet mit voller Kraft, während du weg bist
headline-working = Arbeitet mit { $duty } %, während du weg bist
headline-working-in-use = Arbeitet mit { $duty } % neben dir
headline-nothing-to-do = Bereit. Kein Auftrag wartet
waits-for-memory = „{ $name }“ wartet auf Speicher: eine Aufgabe davon darf { $wanted } belegen, verliehen werden können jetzt { $spare }
headline-only-paused = Bereit. { $n ->
    [one] Ein Auftrag ist angehalten,
   *[other] { $n } Aufträge sind angehalten,
 } kein anderer wartet
headline-finishing = Beendet die laufenden Aufgaben und hört dann auf
headline-requested = Arbeitet an „{ $name }“, weil du es jetzt wolltest. Alles andere wartet: { $why }
pill-off = Aus
pill-ready = Bereit · keine Aufträge
pill-only-paused = Bereit · { $n } angehalten
pill-working = Arbeitet · { $n ->
    [one] { $n } Aufgabe
   *[other] { $n } Aufgaben
}
pill-waiting = Wartet · { $why }
pill-paused = Pause · { $span }

# Reasons
why-off = Mitmachen ist ausgeschaltet.
why-snoozed = Von dir angehalten.
why-on-battery = Das Gerät läuft mit Akku.
why-on-battery-unknown = Es ist nicht zu erkennen, ob das Gerät am Strom hängt.
why-charger = Strom kommt über { $now }, was deine Einstellungen ausschließen.
why-charger-unknown = Das Ladegerät war von einer Art, die deine Einstellungen ausschließen.
why-battery-level = Der Akku hat { $now }, deine Grenze ist { $limit }.
why-battery-level-unknown = Der Akku sagt nicht, wie voll er ist.
why-battery-temp = Der Akku hat { $now }, deine Grenze ist { $limit }.
why-cpu-temp = Der Prozessor hat { $now }, deine Grenze ist { $limit }.
why-cpu-temp-limits = Bleibt kühl: Der Prozessor hat { $now }, deine Grenze ist { $limit }; arbeitet mit { $duty } %.
why-cpu-temp-unknown = Die Temperatur des Prozessors ist nicht lesbar, und dann soll nichts laufen.
why-thermal = Das System meldet Hitze: { $now }.
why-thermal-limits = Das System meldet Hitze ({ $now }); arbeitet mit { $duty } %.
why-in-use = Du benutzt das Gerät (letzte Eingabe vor { $now }; Arbeit beginnt nach { $limit }).
why-in-use-unknown = Es ist nicht zu erkennen, ob jemand das Gerät benutzt; darum läuft nichts.
why-inhibited = Ein Programm hält das System wach, etwa ein Video oder ein Anruf.
why-fullscreen = Ein Programm füllt den ganzen Bildschirm.
why-exclusive = { $now } läuft.
why-other-cpu = Andere Programme brauchen { $now } des Prozessors, deine Grenze ist { $limit }.
why-metered = Das Netz kostet nach Menge.
why-disk-free = Nur { $now } Speicherplatz sind frei, deine Grenze ist { $limit }.
why-ram-available = Nur { $now } Arbeitsspeicher sind frei, die Grenze ist { $limit }.
why-schedule = Dein Wochenplan sieht jetzt keine Arbeit vor.
why-schedule-limits = Das Profil „{ $now }“ arbeitet mit { $limit }.
why-energy = Die Energie steht bei { $now }, deine Grenze ist { $limit }.
why-energy-unknown = Die Energiequelle antwortet nicht.
why-fan = Der Lüfter dreht mit { $now }, die Grenze ist { $limit }.
short-off = ausgeschaltet
short-snoozed = angehalten
short-on-battery = Akkubetrieb
short-charger = lädt langsam
short-battery-level = Akku schwach
short-battery-temp = Akku warm
short-cpu-temp = zu warm
short-thermal = zu warm
short-in-use = in Benutzung
short-inhibited = Medien laufen
short-fullscreen = Vollbild
short-exclusive = Programm läuft
short-other-cpu = Prozessor belegt
short-metered = Netz kostet
short-disk-free = Platte voll
short-ram-available = Speicher voll
short-memory = Speicher verliehen
short-schedule = Wochenplan
short-energy = Energie teuer
short-fan = Lüfter laut
# What to do about a reason; commands are tried by a test
hint-off = Einschalten: `fog on`
hint-snoozed = Pause beenden: `fog snooze 0`
hint-on-battery = Netzteil anschließen, oder erlauben: `fog settings set run_on_battery=on`
hint-charger = Anderes Ladegerät nehmen, oder jedes gelten lassen: `fog settings set chargers=any`
hint-battery-level-lowest = Laden.
hint-battery-level = Laden, oder die Grenze senken: `fog settings set battery_stop={ $lower }`
hint-in-use = Trotzdem jetzt laufen lassen: `fog job now { $job }`
hint-inhibited = Trotzdem jetzt laufen lassen: `fog job now { $job }`
hint-fullscreen = Trotzdem jetzt laufen lassen: `fog job now { $job }`
hint-exclusive = Trotzdem jetzt laufen lassen: `fog job now { $job }`
hint-other-cpu = Trotzdem jetzt laufen lassen: `fog job now { $job }`
hint-schedule = Trotzdem jetzt laufen lassen: `fog job now { $job }`
hint-metered = Erlauben: `fog settings set stop_when_metered=off`
hint-disk-free-lowest = Platz schaffen.
hint-disk-free = Platz schaffen, oder die Grenze senken: `fog settings set disk_free_min={ $lower }`
hint-ram-available-lowest = Ein Programm schließen.
hint-ram-available = Ein Programm schließen, oder die Grenze senken: `fog settings set ram_available_min={ $lower }`
hint-energy = Warten, oder die Regel abschalten: `fog settings set energy_source=`
hint-fan = Warten, oder die Grenze aufheben: `fog settings set quiet_fan_rpm=0`
hint-finishing = Wieder neue Aufgaben beginnen: `fog on`
grid-no-network = Es ist kein Netz dabei, darum wartet der Auftrag. Mit `fog network join lan` oder einer Einladung geht er weiter.
grid-nobody = Noch ist kein anderes Gerät da; der Auftrag wartet darauf.
grid-too-few = Jede Aufgabe will { $wanted } Geräte, und { $n ->
    [one] ein anderes ist da
   *[other] { $n } andere sind da
}; der Auftrag wartet auf mehr.
submit-storing = Speichert { $n ->
    [one] eine Datei
   *[other] { $n } Dateien
}, bisher { $span }. Erst wenn alle gespeichert sind, ist der Auftrag angenommen.
task-of = Aufgabe { $task } (0–{ $last })
watch-works = Er läuft.
watch-turn = Er wartet, bis er an der Reihe ist: { $n ->
    [one] eine andere Aufgabe läuft
   *[other] { $n } andere Aufgaben laufen
}.
watch-starts = Er beginnt gleich.
watch-paused = Er wurde angehalten.
watch-paused-there = Er steht still auf { $devices }: in Gebrauch, aus, zu warm oder im Akkubetrieb.
watch-turn-there = Er wartet auf { $devices }, bis er an der Reihe ist.
hint-estimate-now = Trotzdem jetzt schätzen: `--now` anfügen
hint-job-paused = Weiter: `fog job resume { $job }`
watch-retry = Eine Aufgabe ist gescheitert und wird später noch einmal versucht: { $problem }
watch-gave-up = Nach { $span } nicht weiter gewartet. Auftrag { $job } bleibt und geht von selbst weiter; `fog job show { $job }` sagt, wie weit er ist.
watch-left = Nicht weiter gewartet. Auftrag { $job } bleibt und geht von selbst weiter; `fog job show { $job }` sagt, wie weit er ist, `fog job cancel { $job }` beendet ihn.
watch-percent = { $n } %
watch-compiling = wird übersetzt oder beginnt gleich
watch-units = bisher { $units }
watch-now = „{ $name }“ läuft jetzt, was andere Programme auch tun; Regeln zum Schutz des Geräts gelten weiter.

resumes-in = Weiter in { $span }.
resumes-above = Weiter bei { $value }.
resumes-below = Weiter bei { $value }.
resumes-above-held = Weiter bei { $value }, frühestens in { $span }.
resumes-below-held = Weiter bei { $value }, frühestens in { $span }.
resumes-not-before = Weiter frühestens in { $span }.
value-unknown = unbekannt
value-yes = ja
value-no = nein
pressure-nominal = normal
pressure-fair = erhöht
pressure-serious = hoch
pressure-critical = kritisch
charger-mains = ein Netzteil
charger-usb = einen USB-Anschluss
charger-wireless = eine Ladeschale
profile-full = voll
profile-quiet = leise
off = aus

# Quantities
span-seconds = { $n } s
span-minutes = { $n } min
span-hours = { $n } Std.
span-hours-minutes = { $h } Std. { $m } min
span-days = { $n ->
    [one] { $n } Tag
   *[other] { $n } Tage
}
ago = vor { $span }
units = { $n } { $count ->
    [one] Einheit
   *[other] Einheiten
}
saved-ago = gesichert { $ago }
not-saved = NICHT GESICHERT: „Speicherplatz für Aufträge“ oder die Platte ist voll; entferne beendete Aufträge, erhöhe die Einstellung oder schaff Platz
estimate-whole = Etwa { $units } in { $span } auf diesem Gerät bei voller Kraft: { $tasks ->
    [one] eine Aufgabe
   *[other] { $tasks } Aufgaben, { $atonce } gleichzeitig
}, je { $memory } Speicher.
estimate-unknown = Das Programm sagt nicht, wie weit es ist; sein Ende lässt sich nicht absehen: { $tasks ->
    [one] eine Aufgabe
   *[other] { $tasks } Aufgaben
}, je höchstens { $memory } Speicher.
estimate-sample = Die erste Aufgabe lief { $span } lang und verbrauchte { $units }.
left = noch { $span }

# Pages
page-home = Start
page-jobs = Aufträge
page-chat = Chat
more = Mehr
page-network = Netz
page-history = Verlauf
page-settings = Einstellungen
skip-to-content = Zum Inhalt
navigation = Hauptnavigation

# Home
switch-contributing = Mitmachen
pause = Pause
pause-30 = 30 min
pause-60 = 1 Std.
pause-tomorrow = Bis morgen
end-pause = Pause beenden
finish-then-stop = Fertig machen, dann aufhören
now = Jetzt
next = Danach
today = Heute
nothing-running = Nichts läuft.
today-line = { $span } · { $units } · { $results ->
    [one] { $results } Ergebnis
   *[other] { $results } Ergebnisse
}
this-device = dieses Gerät
for-owner = für { $owner }
kept-frozen = angehalten, nichts geht verloren
other-reasons = Außerdem
change = Ändern
try-example = Beispiel ausprobieren
try-example-why = Sieh deinem Gerät bei einem echten Auftrag zu: Proteinsuche, Bild, Primzahl.
drop-here = Eine .wasm- oder Auftragsdatei hierher ziehen
choose-file = Datei wählen
empty-jobs = Noch keine Aufträge
no-such-jobs = Keine passenden Aufträge

# Jobs
filter-all = Alle
filter-open = Offen
filter-ended = Beendet
search-jobs = Nach Namen suchen
state-queued = wartet
state-running = läuft
state-paused = angehalten
state-finished = fertig
state-failed = gescheitert
state-cancelled = abgebrochen
job-tasks = { $done } von { $total ->
    [one] { $total } Aufgabe
   *[other] { $total } Aufgaben
}
job-stored = Auftrag { $id } ist gespeichert: { $name } ({ $n ->
    [one] { $n } Aufgabe
   *[other] { $n } Aufgaben
}). `fog job show { $id }` sagt, wie es ihm geht.
job-submitted = Eingereicht { $ago }
job-deadline = Wird aufgegeben, wenn nicht fertig in { $span }
job-pause = Anhalten
job-resume = Weiter
job-cancel = Auftrag abbrechen
job-cancel-sure = „{ $name }“ abbrechen? Fertige Ergebnisse bleiben; der Rest entfällt.
job-cancel-yes = Auftrag abbrechen
job-keep = Behalten
job-remove = Entfernen
job-remove-sure = „{ $name }“ und die Ergebnisse von diesem Gerät entfernen?
job-save = Ergebnisse speichern
job-saving = Speichert die Ergebnisse, bisher { $span }.
job-estimating = Liest { $n ->
    [one] eine Datei
   *[other] { $n } Dateien
} und rechnet den Anfang des Auftrags, bisher { $span }.
job-mapping = Liest { $n ->
    [one] eine Datei
   *[other] { $n } Dateien
} und verteilt die Aufgaben, bisher { $span }.
chat-carrying = Dieses Gerät trägt { $n ->
    [one] eine Nachricht
   *[other] { $n } Nachrichten
} anderer zu Leuten, die jetzt nicht zu erreichen sind.
job-saved = { $n ->
    [one] { $n } Datei gespeichert
   *[other] { $n } Dateien gespeichert
} in { $folder }
job-output = Ausgabe
job-errors = Fehlerausgabe
job-files = Dateien
job-log = Was geschah
job-task-list = Aufgaben
job-result-picture = Das Bild bisher
job-no-output = Nichts wurde ausgegeben.
task-marks = { $n ->
    [one] ein Abschnitt aufbewahrt, der sich nachprüfen lässt
   *[other] { $n } Abschnitte aufbewahrt, die sich nachprüfen lassen
}
job-module = Programm { $id }…
job-hash = Ergebnis-Hash
back = Zurück
close = Schließen
cancel = Abbrechen
show = Zeigen
log-accepted = Angenommen
log-result = Aufgabe { $task } fertig
log-attempt_failed = Aufgabe { $task } gescheitert: { $detail }
log-finished = Alle Aufgaben fertig
log-failed = Aufgegeben: { $detail }
log-paused = Angehalten. { $detail }
log-resumed = Weiter
log-cancelled = Abgebrochen
submitted = „{ $name }“ eingereicht

# History
history-day = Letzter Tag
history-month = Letzter Monat
history-duty = Arbeit, % der Zeit
history-temp = Prozessor, °C
history-battery = Akku, %
history-load = Andere Programme, %
history-units = Arbeitseinheiten
history-reasons = Warum nicht gearbeitet wurde
history-empty = Noch nichts aufgezeichnet. Der erste Punkt erscheint nach einer Minute.
reason-idle = kein Auftrag wartet

# Settings
group-when = Wann arbeiten
group-how-much = Wie viel
group-appearance = Aussehen
group-about = Über
default-is = Vorgabe: { $value }
on = an
reset-all = Alle Einstellungen zurücksetzen
reset-sure = Jede Einstellung auf die Vorgabe zurücksetzen?
reset-yes = Zurücksetzen
export = Exportieren
import = Importieren
imported = Einstellungen importiert
exported = Einstellungen gespeichert in { $path }
about-version = Fog Compute { $version }
about-data = Datenordner: { $folder }
about-attached = Verbunden mit einem laufenden Dienst
about-checks = Dieses Gerät prüfen
week-help = Mit der Maus malen, oder mit den Pfeiltasten gehen und mit der Leertaste ändern.
week-hour = { $day } { $hour } Uhr, { $state }
day-0 = Mo
day-1 = Di
day-2 = Mi
day-3 = Do
day-4 = Fr
day-5 = Sa
day-6 = So
choice-system = wie das System
choice-en = English
choice-de = Deutsch
choice-light = hell
choice-dark = dunkel
choice-any = alle
choice-wired = nur mit Kabel
choice-mains = nur Netzteil
choice-allow = erlauben
choice-stop = anhalten
setting-contributing = Mitmachen
setting-contributing-why = Verleiht die freie Zeit dieses Geräts. Der große Schalter auf der Startseite ist derselbe.
setting-run_on_battery = Mit Akku arbeiten
setting-run_on_battery-why = Aus schont den Akku und deine Zeit ohne Steckdose.
setting-chargers = Welche Ladegeräte zählen
setting-chargers-why = Eine Ladeschale wärmt den Akku; ein USB-Anschluss gibt vielleicht weniger, als die Arbeit braucht.
setting-battery_stop = Anhalten unter
setting-battery_stop-why = Ladung, bei der die Arbeit anhält.
setting-battery_resume = Weiter ab
setting-battery_resume-why = Ein Abstand zur Grenze verhindert ständiges An und Aus.
setting-run_while_in_use = Arbeiten, während ich das Gerät benutze
setting-run_while_in_use-why = Mit der kleineren Kraft unter „Wie viel“.
setting-idle_after = Abwesend nach
setting-idle_after-why = Zeit ohne Eingabe, nach der du als abwesend giltst.
setting-respect_media = Anhalten bei Video, Anruf und Vollbild
setting-respect_media-why = Solange ein Programm das System wach hält oder den Bildschirm füllt.
setting-exclusive_programs = Anhalten für diese Programme
setting-exclusive_programs-why = Namen, wie das System sie nennt, mit Kommas getrennt.
setting-other_cpu_stop = Anhalten, wenn andere den Prozessor brauchen
setting-other_cpu_stop-why = Verbrauch aller anderen Programme, gemittelt über 30 Sekunden.
setting-stop_when_metered = Anhalten, wenn das Netz nach Menge kostet
setting-stop_when_metered-why = Aufträge auf diesem Gerät brauchen kein Netz, darum aus.
setting-energy_source = Energiequelle
setting-energy_source-why = Datei oder Adresse mit einem Preis oder CO₂-Wert. Leer schaltet die Regel aus.
setting-energy_max = Arbeiten bis
setting-energy_max-why = In der Einheit der Energiequelle.
setting-week = Wochenplan
setting-week-why = Voll, leise oder aus für jede Stunde der Woche.
setting-cores = Aufgaben zugleich
setting-cores-why = 0 heißt alle Kerne bis auf einen.
setting-memory_share = Arbeitsspeicher für Aufträge
setting-memory_share-why = Anteil am freien Speicher, den alle Aufträge zusammen nutzen dürfen.
setting-duty_idle = Kraft bei Abwesenheit
setting-duty_idle-why = Anteil der Prozessorzeit. Weniger ist kühler und leiser.
setting-duty_in_use = Kraft bei Benutzung
setting-duty_in_use-why = Nur mit „Arbeiten, während ich das Gerät benutze“.
setting-cpu_temp_stop = Grenze des Prozessors
setting-cpu_temp_stop-why = Ab 9 °C darunter wird es langsamer, hier hält es an.
setting-battery_temp_stop = Grenze des Akkus
setting-battery_temp_stop-why = Warme Akkus altern schnell.
setting-storage_cap = Speicherplatz für Aufträge
setting-storage_cap-why = Programme, Eingaben, Ergebnisse, Zwischenstände und Chat zusammen.
setting-disk_free_min = Frei lassen
setting-disk_free_min-why = Bei weniger freiem Platz hält die Arbeit an.
setting-language = Sprache
setting-language-why = Der App und der Befehlszeile.
setting-theme = Farben
setting-theme-why = Hell, dunkel oder wie das System.
setting-notifications = Mitteilungen
setting-notifications-why = Wenn ein Auftrag scheitert, anhält oder fertig ist.
setting-autostart = Mit dem System starten
setting-autostart-why = Im Hintergrund, ohne Fenster.
setting-keep_awake = Beim Arbeiten wach bleiben
setting-keep_awake-why = Das System schläft nicht von selbst ein, solange am Netz Aufgaben laufen.
setting-hold = Kürzeste Dauer eines Zustands
setting-hold-why = Eine Regel, die die Arbeit anhielt, hält sie so lange an; und so selten hält die Last anderer Programme sie an.
setting-quiet_duty = Kraft des leisen Profils
setting-quiet_duty-why = Anteil der Prozessorzeit in leisen Stunden.
setting-quiet_fan_rpm = Lüftergrenze des leisen Profils
setting-quiet_fan_rpm-why = 0 heißt keine Grenze. Nur wo der Lüfter lesbar ist.
setting-ram_available_min = Frei lassen
setting-ram_available_min-why = Bei weniger freiem Arbeitsspeicher hält die Arbeit an.
setting-unknown_cpu_temp = Keine Prozessortemperatur
setting-unknown_cpu_temp-why = Was gilt, wenn sie nicht lesbar ist.
setting-unknown_battery = Keine Antwort vom Akku
setting-unknown_battery-why = Was gilt, wenn ein Akku nicht antwortet.
setting-unknown_idle = Keine Zeit seit der letzten Eingabe
setting-unknown_idle-why = Was gilt, wenn nicht zu erkennen ist, ob jemand da ist.
setting-unknown_energy = Kein Energiewert
setting-unknown_energy-why = Was gilt, wenn die Quelle nicht antwortet.
setting-checkpoint_every = Sicherungspunkt alle
setting-checkpoint_every-why = Eine abgebrochene Aufgabe verliert höchstens so viel Arbeit. Auch Pausen sichern.
setting-keep_finished_days = Beendete Aufträge behalten
setting-keep_finished_days-why = Danach werden sie mit ihren Ergebnissen entfernt.
setting-first_run_done = Erster Bildschirm gesehen
setting-first_run_done-why = Aus zeigt ihn wieder.

# First run
welcome = Verleihe die freie Zeit deines Geräts
welcome-1 = Fog Compute rechnet für andere, während du weg bist, und hört auf, sobald du zurück bist.
welcome-2 = Es schont den Akku, bleibt kühl und sagt dir in Worten, was es tut und warum.
welcome-3 = Kein Konto. Nichts verlässt dieses Gerät, bis du einem Netz beitrittst.
welcome-start = Einschalten
welcome-later = Jetzt nicht

# Errors and notices
error-title = Das hat nicht geklappt
engine-gone = Der Dienst antwortet nicht. Zu sehen ist der Stand { $ago }.
engine-missing = Der Dienst kann nicht starten; nichts läuft, und nichts ist zu sehen.
retry = Noch einmal
loading = Lädt
notice-finished = „{ $name }“ ist fertig
notice-failed = „{ $name }“ ist gescheitert: { $problem }
notice-stopped = „{ $name }“ wurde nach mehreren Fehlern angehalten: { $problem }

# Tray and palette
tray-open = Fog Compute öffnen
tray-quit = Beenden
pill-panel = Gründe und Pause
submit-file = Auftragsdatei oder Programm einreichen
estimate-file = Aufwand schätzen
estimating = Die erste Aufgabe läuft bis zu 10 s, um den Aufwand des Auftrags zu sehen…
estimate-waits = Die Schätzung wartet, bis dieses Gerät arbeitet: { $why }
export-settings = Einstellungen exportieren
import-settings = Einstellungen importieren
read-anew = Alles neu lesen
palette = Befehle
palette-hint = Einen Befehl tippen
shortcuts = Tastenkürzel
shortcut-palette = Befehle
shortcut-pages = Zu einer Seite
shortcut-help = Diese Liste
shortcut-close = Schließen
go-to = Gehe zu { $page }
switch-on = Mitmachen einschalten
switch-off = Mitmachen ausschalten
run-example = Beispiel starten: { $name }

# Network
network-none = Nur dieses Gerät. Bis du einem Netz beitrittst, lauscht nichts und nichts wird gesendet.
network-this = Dieses Gerät
network-joined = Netze
network-lan = Dieses lokale Netz
network-open = Das offene Netz
network-group = Gruppe „{ $name }“
network-leave = Verlassen
network-leave-sure = Deine Aufgaben auf dessen Geräten beginnen anderswo; fremde Aufgaben, die hier laufen, werden zurückgegeben.
network-join-lan = Mit diesem lokalen Netz teilen
network-invite = Gerät einladen
network-join = Beitreten
network-join-label = Einladung von einem anderen Gerät
network-invite-text = Scanne dies mit dem anderen Gerät oder kopiere den Text auf dessen Netzseite. Wer ihn hat, wird Mitglied von „{ $name }“.
network-qr = Einladung als QR-Code
network-devices = Geräte hier
network-nobody = Noch kein anderes Gerät ist hier. Tritt dort demselben Netz bei.
network-reach-unknown = Geräte im selben Netz erreichen dieses. Ob von anderswo, ist noch nicht bekannt.
network-reach-public = Geräte erreichen dieses von überall.
network-reach-relayed = Geräte von anderswo erreichen dieses über eine Vermittlung.
network-clock-slow = Die Uhr dieses Geräts geht { $span } nach, wie die meisten Geräte hier zeigen. Stell sie, oder lass das System es tun.
network-clock-fast = Die Uhr dieses Geräts geht { $span } vor, wie die meisten Geräte hier zeigen. Stell sie, oder lass das System es tun.
network-their-clock-ahead = Seine Uhr geht gegenüber diesem Gerät { $span } vor
network-their-clock-behind = Seine Uhr geht gegenüber diesem Gerät { $span } nach
network-data = { $used } in 30 Tagen, ohne Grenze
network-data-cap = { $used } von { $cap } in 30 Tagen
network-data-label = Daten in 30 Tagen
network-link-direct = Direkt über { $transport }
network-link-relayed = Vermittelt über { $transport }
network-resting = Arbeitet gerade nicht
network-lends = { $free } von { $slots } Plätzen frei
network-lent = Rechnet { $n ->
    [one] eine deiner Aufgaben
   *[other] { $n } deiner Aufgaben
}
network-hosted = { $n ->
    [one] Eine seiner Aufgaben läuft hier
   *[other] { $n } seiner Aufgaben laufen hier
}
setting-device_name = Name dieses Geräts
setting-device_name-why = Den sehen andere Geräte. Leer: wie das System es nennt.
setting-jobs_from_anyone = Aufträge aus dem offenen Netz
setting-jobs_from_anyone-why = Ohne dies geben nur vertraute Gruppen und das lokale Netz diesem Gerät Arbeit.
setting-jobs_allow = Immer annehmen von
setting-jobs_allow-why = Kennungen von Geräten oder Programmen, oder Stichwörter. Sie gelten vor allem anderen.
setting-jobs_deny = Nie annehmen von
setting-jobs_deny-why = Kennungen von Geräten oder Programmen, oder Stichwörter.
setting-credit_limit = Höchste Schuld in Credits
setting-credit_limit-why = Aufgaben warten, wenn sie mehr kosten würden als dies über das Verdiente hinaus. 0 heißt ohne Grenze.
setting-data_cap = Daten in 30 Tagen
setting-data_cap-why = Das lokale Netz zählt nicht. Kurz vor dem Ende wird nichts Großes mehr geholt oder geliefert; sind sie verbraucht, geht nichts mehr über das Netz. 0 heißt ohne Grenze.
setting-network_when_metered = Netz auch bei getakteten Verbindungen
setting-network_when_metered-why = Ohne dies wird dort nichts gesendet und empfangen.
setting-network_port = Port für andere Geräte
setting-network_port-why = UDP und TCP. Ist er belegt, wird ein anderer genommen.

where = Wo es läuft
where-local = Dieses Gerät
where-grid = Andere Geräte
service = Zusage
service-bronze = Bronze: ein Gerät je Aufgabe
service-silver = Silber: zwei Geräte, die übereinstimmen
service-gold = Gold: zwei von drei Geräten stimmen überein
prefer = Was zählt
prefer-balanced = Von allem etwas
prefer-fast = Das Ergebnis bald
prefer-cheap = Ein niedriger Preis
prefer-green = Wenig Energie
prefer-safe = Wenig Risiko
elsewhere = Auf anderen Geräten
elsewhere-nobody = Zurzeit hat kein anderes Gerät eine Aufgabe davon.
promise-open = noch offen
promise-kept = gehalten
promise-broken = nicht gehalten: { $why }
job-withheld = Wartet: { $why }
job-credits = { $spent } Credits bezahlt, { $reserved } zurückgelegt
job-checks = { $n ->
    [one] { $n } Prüfung eines Geräts
   *[other] { $n } Prüfungen von Geräten
}, mit Fehler: { $wrong }
choices-show = Möglichkeiten zeigen
choices-label = { $n } Möglichkeiten, von denen keine in allem besser ist, nach Zeit und Energie. Gewählt: { $why }
choices-waiting = { $n ->
    [one] Eine Aufgabe findet jetzt keinen Platz und wartet
   *[other] { $n } Aufgaben finden jetzt keinen Platz und warten
}
map-tasks = { $tasks ->
    [one] { $tasks } Aufgabe zu verteilen
   *[other] { $tasks } Aufgaben zu verteilen
}, { $n ->
    [one] eine Möglichkeit
   *[other] { $n } Möglichkeiten, von denen keine in allem besser ist
}:
map-planned = Diese Zahlen gelten für die ersten { $n }; die übrigen kommen unter, sobald Geräte frei werden.
trace-changes = { $n ->
    [one] { $n } Änderung
   *[other] { $n } Änderungen
}; { $rejected ->
    [one] { $rejected } unmöglicher Messwert
   *[other] { $rejected } unmögliche Messwerte
} verworfen
history-written = { $segments ->
    [one] { $segments } Abschnitt
   *[other] { $segments } Abschnitte
}, { $n ->
    [one] { $n } Sicherung
   *[other] { $n } Sicherungen
}
place-offered = gefragt
place-fetching = holt die Dateien
place-waiting = wartet dort
place-running = läuft
place-paused = steht still
place-checking = Ergebnis unterwegs
place-done = hat ein Ergebnis
place-lost = nicht erreichbar
log-checked = Geprüft: { $detail }

# Chat
chat-off = Der Chat ist ausgeschaltet
chat-off-why = Mit ihm schreibst du Leuten in der Nähe über Bluetooth, ohne Internet, und denen in deinen Netzen. Vorher wird nichts gesendet.
chat-switch-on = Chat einschalten
chat-starting = Der Chat startet…
chat-choose = Wähle ein Gespräch.
chat-threads = Gespräche
chat-room = Alle in der Nähe
chat-near = In deiner Nähe
chat-known = Gemerkt
chat-people = Leute
chat-people-near = { $n ->
    [0] Niemand in der Nähe
    [one] Eine Person in der Nähe
   *[other] { $n } Leute in der Nähe
}
chat-unread = { $n ->
    [one] Eine ungelesene Nachricht
   *[other] { $n } ungelesene Nachrichten
}
chat-link-gone = Nicht da
chat-link-relayed = Vermittelt
chat-link-network = Netz
chat-link-bluetooth = Bluetooth
chat-favourite = Favorit
chat-verified = Geprüft
chat-session = Verschlüsselt
chat-blocked = Blockiert
chat-bluetooth-off = Bluetooth ist aus; erreichbar sind nur Leute in deinen Netzen.
chat-bluetooth-why = Damit sehen andere in der Nähe, dass dieses Gerät da ist: seine Nummer, die dieselbe bleibt, bis du alles löschst, und den Namen, den du dir gibst.
chat-use-bluetooth = Bluetooth benutzen
chat-bluetooth-start = Bluetooth für den Chat einschalten
chat-bluetooth-stop = Bluetooth für den Chat ausschalten
chat-join-network = Einem Netz beitreten
chat-open-room = Mit allen in der Nähe chatten
chat-radio-problem = Bluetooth geht gerade nicht
chat-radio-starting = Bluetooth startet…
chat-radio-central = Dieser Adapter findet andere, kann aber nicht gefunden werden. Wer in der Nähe einen gewöhnlichen hat, wird trotzdem erreicht.
chat-radio-unavailable = Bluetooth ist gerade nicht verfügbar.
chat-clock-fast = Deine Uhr geht { $span } vor, darin sind sich { $n } Leute in der Nähe einig. Telefone übergehen Nachrichten, wenn die Uhr zwei Minuten falsch geht; stell sie, oder lass das System es tun.
chat-clock-slow = Deine Uhr geht { $span } nach, darin sind sich { $n } Leute in der Nähe einig. Telefone übergehen Nachrichten, wenn die Uhr zwei Minuten falsch geht; stell sie, oder lass das System es tun.
chat-clock-ahead-of-one = Deine Uhr und die von jemandem in der Nähe stimmen nicht überein: Deine geht { $span } vor. Eine von beiden geht falsch. Nachrichten zwischen Fog-Geräten kommen trotzdem an; Telefone übergehen Uhren, die zwei Minuten falsch gehen. Vergleiche deine, oder lass sie vom System stellen.
chat-clock-behind-one = Deine Uhr und die von jemandem in der Nähe stimmen nicht überein: Deine geht { $span } nach. Eine von beiden geht falsch. Nachrichten zwischen Fog-Geräten kommen trotzdem an; Telefone übergehen Uhren, die zwei Minuten falsch gehen. Vergleiche deine, oder lass sie vom System stellen.
chat-their-clock-ahead = Uhr geht { $span } vor
chat-their-clock-behind = Uhr geht { $span } nach
chat-stated = { $time } nach ihrer Uhr
chat-nobody = Niemand ist in der Nähe. Leute mit dieser App oder BitChat erscheinen hier, sobald sie auf etwa 30 m heran sind.
chat-nobody-network = Noch ist niemand hier. Leute in deinen Netzen erscheinen, sobald ihr Chat an ist.
chat-nobody-known = Noch wurde niemand getroffen.
chat-you = Du
chat-you-are = Du bist „{ $name }“.
chat-you-said = Du: { $text }
chat-a-picture = Bild
chat-a-sound = Sprachnachricht
chat-a-file = Datei
chat-details = Details
chat-who-is-near = Wer da ist
chat-search = In diesem Gespräch suchen
chat-found = Gefundenes
chat-found-n = { $n ->
    [0] Nichts gefunden
    [one] Eine Nachricht
   *[other] { $n } Nachrichten
}
chat-messages = Nachrichten
chat-older = Frühere Nachrichten
chat-news = Neue Nachrichten
chat-room-empty = Hier wurde noch nichts gesagt. Alle in der Nähe können lesen, was in diesem Raum steht.
chat-private-empty = Hier wurde noch nichts gesagt. Nur ihr zwei könnt lesen, was hier steht.
chat-yesterday = Gestern
chat-state-queued = wartet
chat-state-carried = wird von anderen getragen
chat-carries = Dieses Gerät trägt { $count ->
    [one] { $count } Nachricht
   *[other] { $count } Nachrichten
} für andere, verschlossen, zu Leuten, die gerade nicht zu erreichen sind.
chat-state-sent = gesendet
chat-state-delivered = angekommen
chat-state-read = gelesen
chat-state-failed = nicht gesendet
chat-again = Noch einmal senden
chat-picture = Bild { $name }
chat-save = { $name } speichern ({ $size })
chat-file-other = Das lässt sich hier nicht zeigen. Speichern geht.
chat-file-gone = Die Datei ist nicht mehr da.
chat-file-large = Die Datei hat { $size }, und Telefone nehmen höchstens { $most }. Nichts wurde gesendet.
chat-file-unreadable = Die Datei ist nicht lesbar. Nichts wurde gesendet.
chat-say-room = Allen in der Nähe etwas sagen
chat-say-private = Nachricht schreiben
chat-send = Senden
chat-attach = Datei anhängen
chat-drop = Dateien hängt die Büroklammer in einem privaten Gespräch an. Nichts wurde gesendet.
chat-no-files = Die andere App nimmt keine Dateien
chat-voice = Sprachnachricht aufnehmen
chat-voice-left = noch { $n } s
chat-voice-cancel = Verwerfen
chat-voice-send = Sprachnachricht senden
chat-no-microphone = Das Mikrofon ist nicht verfügbar. Erlaube es in den Einstellungen des Systems.
chat-room-left = { $used } von { $most } Byte
chat-in-pieces = Länger als eine Nachricht: geht als { $n } hinaus
chat-commands = Befehle
chat-command-msg = einer Person schreiben
chat-command-who = wer da ist
chat-command-clear = dieses Gespräch auf diesem Gerät leeren
chat-command-hug = jemanden umarmen, für alle zu sehen
chat-command-slap = jemanden mit einer großen Forelle hauen, für alle zu sehen
chat-command-block = ausblenden, was jemand sagt
chat-command-unblock = es wieder zeigen
chat-command-fav = jemanden als Favorit merken
chat-command-unfav = das zurücknehmen
chat-new-group = Neue Gruppe
chat-group-why = Eine private Gruppe mit bis zu 16 Leuten. Nur ihre Mitglieder können lesen, was darin gesagt wird, und nur wer sie gegründet hat, nimmt Leute auf oder heraus.
chat-group-mine = Du hast diese Gruppe gegründet. Immer wenn jemand dazukommt oder geht, bekommt sie einen neuen Schlüssel: Wer kommt, liest nichts von vorher, wer geht, nichts von nachher.
chat-group-left = Du bist nicht mehr in dieser Gruppe. Was gesagt wurde, bleibt, bis du es leerst.
chat-group-out = Verlassen
chat-group-members = Mitglieder
chat-group-maker = hat die Gruppe gegründet
chat-group-count = { $n ->
    [one] 1 Mitglied
   *[other] { $n } Mitglieder
}
chat-group-name = Name
chat-group-with = Mit
chat-group-make = Gruppe gründen
chat-group-full = Eine Gruppe hat höchstens { $n } Mitglieder.
chat-group-choose = Jemanden wählen …
chat-group-add = Aufnehmen
chat-group-remove = Herausnehmen
chat-group-remove-sure = Diese Person herausnehmen? Was ab jetzt gesagt wird, kann sie nicht lesen; sie erfährt davon nichts.
chat-group-leave = Gruppe verlassen
chat-group-leave-sure = Diese Gruppe verlassen? Was ab jetzt gesagt wird, kannst du nicht lesen. Die anderen erfahren davon nichts; nur wer sie gegründet hat, kann dich wieder aufnehmen.
chat-group-empty = Hier wurde noch nichts gesagt. Nur die Mitglieder dieser Gruppe können lesen, was hier gesagt wird.
chat-say-group = An die Gruppe schreiben
chat-command-group = eine Gruppe gründen, Leute aufnehmen oder herausnehmen, gehen
notice-invited = { $name } hat dich in die Gruppe „{ $group }“ aufgenommen
chat-board = Pinnwand
chat-board-count = Pinnwand · { $n ->
    [0] leer
    [one] ein Zettel
   *[other] { $n } Zettel
}
chat-board-why = Zettel bleiben tagelang hier und gehen von Gerät zu Gerät: Wer vorbeikommt, liest sie, auch wenn du schon weg bist.
chat-board-empty = An der Pinnwand hängt nichts.
chat-board-text = Ein Zettel für alle, die vorbeikommen
chat-board-stays = Bleibt
chat-board-6h = 6 Stunden
chat-board-day = einen Tag
chat-board-3days = 3 Tage
chat-board-week = eine Woche
chat-board-urgent = Dringend
chat-board-post = Anheften
chat-board-full = Fünf Zettel von dir hängen da, mehr heben andere nicht auf. Nimm einen ab, um einen neuen anzuheften.
chat-board-stranger = noch nicht getroffen
chat-board-until = Bis { $when }
chat-board-take-down = Abnehmen
chat-board-take-down-sure = Diesen Zettel abnehmen? Er verschwindet auf jedem Gerät, das davon erfährt. Das lässt sich nicht zurücknehmen.
chat-vouched = Verbürgt
chat-vouched-by = Du hast { $names } überprüft, und von dort wurde diese Person überprüft. Das sagt nur dann, wer sie ist, wenn du darauf vertraust, dass genau hingesehen wurde.
chat-export-json = Als JSON
chat-export-json-why = Dasselbe für Programme
chat-write = Schreiben
chat-last-heard = Zuletzt gehört { $ago }
chat-fingerprint = Fingerabdruck
chat-own-fingerprint = Dein eigener Fingerabdruck
chat-is-verified = Geprüft: Du hast die Schlüssel verglichen.
chat-not-verified = Nicht geprüft. Vergleiche diese Ziffern mit denen in der anderen App, oder scanne deren Code.
chat-compared = Ich habe den Fingerabdruck verglichen
chat-compared-sure = Sind alle Ziffern dieselben wie auf dem anderen Gerät? Nur dann kann sich niemand für diese Person ausgeben.
chat-forget-compared = Nicht mehr geprüft
chat-verify = Mit einem Code prüfen
chat-own-code = Dein Code
chat-own-code-why = Lass das andere Gerät dies scannen. Es beweist deine Schlüssel und erneuert sich, bevor seine fünf Minuten um sind.
chat-code-text = Der Code als Text
chat-scan-label = Text des anderen Codes
chat-scan = Prüfen
chat-scan-asked = { $name } wird nach dem Beweis der Schlüssel gefragt. Das Zeichen erscheint, wenn die Antwort kommt.
chat-block = Blockieren
chat-block-sure = Diese Person blockieren? Was sie sagt, ist ab jetzt ausgeblendet, und sie erfährt es nicht. Du kannst es zurücknehmen.
chat-unblock = Nicht mehr blockieren
chat-export = Als Datei speichern
chat-exported = Gespeichert in { $path }
chat-clear = Leeren
chat-clear-yes = Leeren
chat-clear-sure = Dieses Gespräch leeren? Seine Nachrichten und Dateien werden auf diesem Gerät gelöscht; das andere behält seine. Das lässt sich nicht zurücknehmen.
chat-clear-room-sure = Den Raum leeren? Seine Nachrichten werden auf diesem Gerät gelöscht; andere behalten ihre. Das lässt sich nicht zurücknehmen.
chat-map-label = Karte: { $linked } mit diesem Gerät verbunden, { $relayed } über andere erreichbar
chat-map-me = Dieses Gerät
chat-settings = Chat-Einstellungen
chat-advanced = Erweitert
chat-move = Auf ein anderes Gerät umziehen
chat-move-why = Sichert deine Schlüssel, die Leute, die du kennst, und deine Gruppen in einer Datei, die eine Passphrase öffnet. Für andere bleibst du, wer du bist. Nachrichten sind nicht dabei.
chat-move-passphrase = Passphrase
chat-move-short = Mindestens { $n } Zeichen: Wer die Datei hat, kann so oft probieren, wie er will.
chat-move-save = In einer Datei sichern
chat-move-saved = Gesichert in { $path }. Übernimm sie auf dem anderen Gerät und lösche dann hier alles: Zwei Geräte mit einer Identität verwirren andere.
chat-move-take = Aus einer Datei übernehmen
chat-move-take-sure = Werden, wer in der Datei steht? Wer dieses Gerät für andere ist, wird für immer gelöscht; seine Nachrichten bleiben.
chat-move-taken = Dieses Gerät ist jetzt, wer in der Datei steht.
chat-wipe = Alles löschen
chat-wipe-why = Für den Notfall: Vom Chat bleibt auf diesem Gerät nichts.
chat-wipe-sure = Alles löschen? Deine Schlüssel, alle Nachrichten und Dateien und alle, die du kennst, werden sofort gelöscht. Für andere bist du jemand Neues, und wer dich geprüft hat, muss es noch einmal tun. Das lässt sich nicht zurücknehmen.
chat-wipe-yes = Jetzt alles löschen
notice-chat = { $name }: { $text }
setting-chat = Chat
setting-chat-why = Aus: Nichts wird gesendet oder empfangen, und was gesagt wurde, bleibt.
setting-chat_nickname = Dein Name
setting-chat_nickname-why = Den sehen andere. Leer: Einer wird erfunden.
setting-chat_bluetooth = Bluetooth
setting-chat_bluetooth-why = Erreicht Leute in der Nähe ohne Internet. Andere in der Nähe sehen, dass dieses Gerät da ist.
setting-chat_adapter = Bluetooth-Adapter
setting-chat_adapter-why = Zum Beispiel hci0. Leer: der erste, der geht.
setting-chat_receipts = Sagen, was gelesen wurde
setting-chat_receipts-why = Wer dir schreibt, sieht, wann du seine Nachrichten gelesen hast.
setting-chat_keep_days = Nachrichten behalten
setting-chat_keep_days-why = Ältere werden gelöscht. 0 behält sie für immer.
setting-chat_quiet_from = Ruhe ab
setting-chat_quiet_from-why = Stunde, ab der Nachrichten keine Mitteilung geben. Zweimal dieselbe Stunde schaltet die Ruhe aus.
setting-chat_quiet_to = Ruhe bis
setting-chat_quiet_to-why = Stunde, ab der wieder Mitteilungen kommen.

# Errors of commands about networks
error-network-no-key-to-join = Es kann keinem Netz beigetreten werden, weil der Schlüssel dieses Geräts nicht zu haben ist; `fog doctor` sagt, warum
error-network-no-key-to-invite = Es kann niemand eingeladen werden, weil der Schlüssel dieses Geräts nicht zu haben ist; `fog doctor` sagt, warum
error-network-bad-invitation = { $why }. `fog network join lan` tritt dem lokalen Netz bei, `open` dem offenen
error-network-own-invitation = Diese Einladung ist von diesem Gerät selbst; sie gilt auf einem anderen
error-network-none-joined = Das Gerät ist in keinem Netz
error-network-not-joined = Das Gerät ist in keinem Netz namens „{ $name }“; `fog network` zeigt sie
error-network-group-not-stored = Die Gruppe konnte nicht gespeichert werden, darum kann niemand in sie eingeladen werden; ist die Platte voll?
error-network-needs-no-invitation = „{ $name }“ braucht keine Einladung: `fog network join { $name }`
error-network-bad-group-name = Der Name einer Gruppe hat 1 bis { $most } Zeichen

# Errors of commands about chat
error-chat-unknown-person = Niemand namens „{ $name }“ ist bekannt; `fog chat people` zeigt, wer es ist
error-chat-several-people = Mehrere Leute heißen „{ $name }“: { $found }; sag, wer gemeint ist
error-chat-off = Der Chat ist ausgeschaltet; `fog settings set chat=on` schaltet ihn ein
error-chat-no-device-key = Der Chat braucht den Schlüssel dieses Geräts, und der ist nicht zu haben; `fog doctor` sagt, warum
error-chat-keys-do-not-open = Die Schlüssel des Chats lassen sich mit dem Schlüssel dieses Geräts nicht öffnen; `fog chat wipe` beginnt von vorn
error-chat-cannot-start = Der Chat kann nicht starten: { $why }
error-chat-busy = Der Chat hat gerade zu viel zu tun; nichts wurde gesendet, versuch es gleich noch einmal
error-chat-nothing-to-send = Es gibt nichts zu senden
error-chat-text-too-long = Eine Nachricht hat höchstens { $most }; nichts wurde gesendet
error-chat-file-to-group = Dateien gehen an eine Person oder an alle, nicht an eine Gruppe; nichts wurde gesendet
error-chat-file-too-large = Eine Datei hat über Bluetooth höchstens { $most }; nichts wurde gesendet
error-chat-bad-file-size = Eine Datei hat über Bluetooth 1 Byte bis { $most }; nichts wurde gesendet
error-chat-no-private-files = Die App dieser Person nimmt keine privaten Dateien; nichts wurde gesendet
error-chat-no-file = Nachricht { $row } hat keine Datei
error-chat-cannot-write = { $path } lässt sich nicht schreiben: { $why }
error-chat-no-free-name = Zu viele Dateien heißen dort { $name }
error-chat-unknown-message = Es gibt keine Nachricht { $row } von diesem Gerät
error-chat-not-given-up = Diese Nachricht wurde nicht aufgegeben; sie ist unterwegs oder angekommen
error-chat-message-unreadable = Diese Nachricht ist nicht mehr lesbar
error-chat-not-met = Noch wurde niemand mit der Kennung { $id } getroffen
error-chat-keys-unreadable = Die Schlüssel des Chats sind nicht lesbar
error-chat-own-code = Das ist der Code dieses Geräts selbst; scanne den der anderen Person
error-chat-not-here = { $name } ist gerade nicht da; ohne Antwort vom anderen Gerät beweist der Code nichts
error-chat-not-in-group = Dieses Gerät ist in keiner Gruppe namens „{ $name }“; `fog chat group` zeigt sie
error-chat-several-groups = Mehrere Gruppen heißen „{ $name }“; sag mit der Kennung, welche gemeint ist: { $ids }
error-chat-not-group-creator = { $creator } hat die Gruppe „{ $group }“ gegründet, und niemand sonst kann sie ändern; nichts wurde geändert
error-chat-group-as-member = „{ $name }“ ist eine Gruppe, und aufgenommen werden Leute; nichts wurde geändert
error-chat-self-as-member = Dieses Gerät ist ohnehin in seinen Gruppen; nichts wurde geändert
error-chat-already-member = { $name } ist schon in der Gruppe; nichts wurde geändert
error-chat-group-full = Eine Gruppe hat höchstens { $most } Mitglieder; nichts wurde geändert
error-chat-not-member = „{ $name }“ ist keines der anderen Mitglieder; nichts wurde geändert
error-chat-several-members = „{ $name }“ heißen mehrere; sag mit der Kennung, wer gemeint ist; nichts wurde geändert
error-chat-bad-group-name = Der Name einer Gruppe hat 1 bis { $most } Byte; nichts wurde gegründet
error-chat-too-many-groups = Dieses Gerät ist in { $most } Gruppen; verlass erst eine
error-chat-too-many-members = Eine Gruppe hat höchstens { $most } Mitglieder, dieses Gerät mitgezählt; nichts wurde gegründet
error-chat-outside-group = Sag das im Gespräch der Gruppe selbst; nichts wurde geändert
error-chat-left-group = Dieses Gerät ist nicht mehr in dieser Gruppe; nichts wurde gesendet
error-chat-ping-of-group = Eine Gruppe ist nicht an einem Ort; sag, wer gemeint ist
error-chat-too-many-pings = Schon zu viele werden gefragt; versuch es in zehn Sekunden noch einmal
error-chat-no-answer = { $name } antwortet nicht und ist vielleicht nicht zu erreichen, oder die App dort kennt die Frage nicht
error-chat-bad-note-size = Ein Zettel hat 1 bis { $most } Byte, dieser { $size }; nichts wurde angeheftet
error-chat-bad-note-life = Ein Zettel bleibt 1 bis 168 Stunden, das sind sieben Tage; nichts wurde angeheftet
error-chat-too-many-notes = { $most } Zettel dieses Geräts hängen an der Pinnwand, mehr heben andere nicht auf; nimm erst einen ab
error-chat-foreign-note = Dieser Zettel ist von { $author } und kann nur von dort abgenommen werden; blockiere die Person, um nichts von ihr zu sehen
error-chat-unknown-note = An der Pinnwand hängt kein Zettel { $id }; `fog chat board` zeigt sie
error-chat-several-notes = Mehrere Zettel beginnen mit { $id }; gib mehr Ziffern an
error-chat-file-exists = { $path } gibt es schon; nichts wurde geschrieben
error-chat-file-missing = { $path } lässt sich nicht lesen: { $why }; nichts wurde geändert
error-chat-file-unreadable = { $path } lässt sich nicht lesen: { $why }; nichts wurde geändert
error-chat-no-identity = { $path } ist keine gesicherte Identität; nichts wurde geändert
error-chat-identity-too-new = Diese Datei ist von einer späteren Version des Programms; nichts wurde geändert
error-chat-wrong-passphrase = Die Passphrase ist eine andere, oder die Datei wurde beschädigt; nichts wurde geändert
error-chat-passphrase-too-short = Eine Passphrase hat mindestens { $least } Zeichen: Wer die Datei hat, kann so oft probieren, wie er will; nichts wurde geschrieben
error-chat-no-keys-in-file = Die Datei hat keine Schlüssel; nichts wurde geändert
error-chat-same-identity = Dieses Gerät ist diese Identität schon; nichts wurde geändert

# Errors of commands about jobs and tasks
error-tasks-engine-stopped = Der Dienst läuft nicht mehr; starte die App oder `fog daemon` neu
error-tasks-no-such-example = Es gibt kein Beispiel namens „{ $name }“; `fog submit --list-examples` zeigt sie
error-tasks-already-ended = Auftrag { $id } ist schon zu Ende ({ $state ->
    [finished] fertig
    [failed] gescheitert
   *[cancelled] abgebrochen
})
error-tasks-not-ended = Auftrag { $id } ist noch nicht zu Ende; brich ihn erst ab
error-tasks-runs-elsewhere = Auftrag { $id } läuft auf anderen Geräten, und deren Besitzer entscheiden, wann; ohne --where grid eingereicht, läuft er hier
error-tasks-of-another-device = Auftrag { $id } gehört einem anderen Gerät; nur deine eigenen Aufträge laufen, während du dieses benutzt
error-tasks-too-many-run-now = Schon { $most } Aufträge sollen sofort laufen; lass erst einige davon enden
error-tasks-bad-grid-options = Möglich sind 1 bis 16 Geräte je Aufgabe (replicas), 2 bis 1.000.000 für trust und 0 bis 50 % Stichproben. Es wurde nichts eingereicht
error-tasks-not-a-module = { $path } ist kein WebAssembly-Modul; übersetze das Programm für wasm32-wasip1
error-tasks-module-too-large = { $path } ist größer als { $most }, die Grenze des Auftrags für ein Modul. Es wurde nichts eingereicht
error-tasks-job-file-too-large = { $path } ist zu groß für eine Auftragsdatei. Es wurde nichts eingereicht
error-tasks-not-text = { $path }: { $why }. Es wurde nichts eingereicht
error-tasks-path-not-text = Der Pfad { $path } ist kein Text (UTF-8) und lässt sich darum nicht an den Dienst übergeben. Es wurde nichts eingereicht
error-tasks-unreadable = { $path } ist nicht lesbar: { $why }. Es wurde nichts eingereicht
error-tasks-not-stored = { $path }: { $why }. Es wurde nichts eingereicht
error-tasks-no-checkpoint-key = Zwischenstände lassen sich hier nicht aufbewahren, weil ihr Schlüssel nicht zu haben ist; `fog doctor` sagt, warum
error-tasks-checkpoint-too-large = { $path } hat { $size }; die Einstellung „Speicherplatz für Aufträge“ erlaubt einem Zwischenstand { $most }. Es wurde nichts eingereicht; erhöhe storage_cap und versuch es noch einmal
error-tasks-no-program = { $path } enthält kein Programm: der Zwischenstand gehört einem Dienst; exportiere ihn dort mit `fog job export-checkpoint`
error-tasks-program-too-large = Das Programm des Zwischenstands ist größer als dessen eigene Grenze für ein Modul. Es wurde nichts eingereicht
error-tasks-unfit-checkpoint = Der Zwischenstand hat einen Namen, Argumente, eine Umgebung oder eine Reihenfolge der Eingaben, die kein Auftrag haben kann; setz ihn mit `fog run --from` fort
error-tasks-too-much-memory = Eine Aufgabe dieses Auftrags darf { $footprint } Speicher belegen, Dateien und Zwischenstände eingerechnet; dieses Gerät verleiht höchstens { $most }. Es wurde nichts eingereicht
error-tasks-too-many-estimates = Es warten schon { $most } Schätzungen; lass erst einige davon enden. Es wurde nichts eingereicht
error-tasks-estimate-failed = { $why }. Es wurde nichts eingereicht
error-tasks-first-task-exited = Die erste Aufgabe endete mit einem Fehler: Code { $code }. Es wurde nichts eingereicht
error-tasks-first-task-failed = Die erste Aufgabe endete mit einem Fehler: { $why }. Es wurde nichts eingereicht
error-tasks-first-task-reached-units = Die erste Aufgabe endete mit einem Fehler: Sie erreichte ihre Grenze an Arbeitseinheiten; `units` bei den Grenzen der Auftragsdatei erhöht sie. Es wurde nichts eingereicht
error-tasks-first-task-reached-time = Die erste Aufgabe endete mit einem Fehler: Sie erreichte ihre Grenze an Laufzeit; `wall` bei den Grenzen der Auftragsdatei erhöht sie. Es wurde nichts eingereicht
error-tasks-first-task-reached-memory = Die erste Aufgabe endete mit einem Fehler: Sie brauchte mehr Speicher, als ihre Grenzen erlauben; `memory` und `disk` bei den Grenzen der Auftragsdatei erhöhen sie. Es wurde nichts eingereicht
error-tasks-first-task-overflowed = Die erste Aufgabe endete mit einem Fehler: Der Stapel lief über. Es wurde nichts eingereicht
error-tasks-none-runs = Von Auftrag { $id } läuft jetzt keine Aufgabe; was beim Anhalten gesichert wurde, bleibt
error-tasks-not-saved = Kein Zwischenstand von Aufgabe { $index }: { $why }
error-tasks-none-saved = Keine Aufgabe von Auftrag { $id } ließ sich sichern; versuch es noch einmal
error-tasks-no-such-task = Auftrag { $id } hat keine Aufgabe { $index }; seine Aufgaben haben die Nummern 0 bis { $last }
error-tasks-no-checkpoints = Keine Aufgabe von Auftrag { $id } hat einen Zwischenstand; er hat noch nicht begonnen oder ist zu Ende
error-tasks-no-checkpoint = Die Aufgabe hat noch keinen Zwischenstand
error-tasks-unfit-path = { $path } kann keinen Zwischenstand aufnehmen: { $why }. Es wurde nichts geschrieben
error-tasks-no-history = Aufgabe { $index } von Auftrag { $id } zeichnet keinen Verlauf auf; setz „segment“ in der Auftragsdatei
error-tasks-history-there = { $path } enthält schon einen Verlauf; wähl einen anderen Ordner
error-tasks-task-not-ended = Diese Aufgabe ist noch nicht zu Ende, darum gibt es keine Ausgabe zu zeigen
error-tasks-no-such-file = Diese Aufgabe hat keine solche Datei hinterlassen
error-tasks-too-large-to-show = Das ist zu groß, um es zu zeigen; `fog job result -o FOLDER` speichert es, ebenso die Seite des Auftrags im Fenster
error-tasks-results-apart = Die Aufgaben dieses Auftrags behalten ihre Ergebnisse getrennt; `fog job result { $id } -o results` speichert sie in einem Ordner
error-tasks-picture-not-in-pieces = Ein Bild gibt es nicht in Stücken
error-tasks-no-tile-yet = Noch keine Kachel ist fertig
error-tasks-picture-too-large = Das Bild hätte { $width } × { $height } Bildpunkte
error-tasks-tile-differs = Kachel { $index } hat { $w } × { $h } Bildpunkte, die erste { $width } × { $height }
error-tasks-tile-not-png = Eine Kachel ist kein PNG: { $why }
error-tasks-tile-too-large = Eine Kachel ist zu groß
error-tasks-tile-with-palette = Eine Kachel benutzt eine Farbpalette
error-tasks-no-results-yet = Dieser Auftrag hat noch keine Ergebnisse; es wurde nichts geschrieben
error-tasks-unusable-name = Eine Datei von Aufgabe { $index } hat einen Namen, den kein System aufnehmen könnte; es wurde nichts geschrieben
error-tasks-result-not-written = { $path } lässt sich nicht schreiben: { $why }. Die Ergebnisse bleiben gespeichert, und eine Datei dieses Namens ist, wie sie war
error-tasks-job-removed = Auftrag { $id } wurde entfernt, während seine Ergebnisse gelesen wurden. Dateien, die vorher geschrieben wurden, sind vollständig, und sonst ist dort nichts

# Errors of commands about placement and other devices
error-exchange-only-here = Auftrag { $job } läuft nur auf diesem Gerät
error-exchange-nobody-here = Kein anderes Gerät ist hier, das Aufgaben übernehmen könnte; `fog peers` zeigt, wer bekannt ist
error-exchange-no-tasks = Der Auftrag hat keine Aufgaben zu verteilen

# Errors of commands about settings and duty
error-duty-unknown-setting = Es gibt keine Einstellung „{ $key }“; `fog settings list` zeigt alle
error-duty-conflicting-settings = { $why }. Nichts wurde geändert

# Errors of the engine as a whole
error-engine-not-stored-yet = Erledigt, und es gilt, solange der Dienst läuft, aber es konnte noch nicht in { $folder } gespeichert werden ({ $why }). Es wird gespeichert, sobald das geht; ein Neustart davor würde es vergessen
error-chat-not-changed = { $why }; nichts wurde geändert
error-chat-switched-off = Der Chat wurde ausgeschaltet, bevor das gespeichert war
