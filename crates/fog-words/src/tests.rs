use std::collections::BTreeMap;

use fog_api::{EffectView, ReasonView, ResumeView, ValueView, VerdictView};

use super::*;

/// Returns the keys of a catalogue with the variables of their texts.
fn keys(text: &str) -> BTreeMap<&str, Vec<String>> {
    let mut found: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut last = "";
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if let Some((key, _)) = line.split_once(" =").filter(|(key, _)| !key.starts_with([' ', '[', '*'])) {
            last = key;
            found.entry(key).or_default();
        }
        let variables = line
            .split('$')
            .skip(1)
            .map(|rest| rest.chars().take_while(|c| c.is_alphanumeric()).collect::<String>());
        found.entry(last).or_default().extend(variables);
    }
    for list in found.values_mut() {
        list.sort();
        list.dedup();
    }
    found
}

#[test]
fn every_language_has_every_text_with_the_same_values() {
    let english = keys(CATALOGUES[0].1);
    for (code, text) in CATALOGUES {
        assert!(FluentResource::try_new(text.to_owned()).is_ok(), "{code} has a mistake");
        let other = keys(text);
        for (key, variables) in &english {
            assert_eq!(other.get(key), Some(variables), "{code}: {key}");
        }
        assert_eq!(other.len(), english.len(), "{code} has texts that English has not");
    }
}

#[test]
fn every_setting_and_rule_has_its_words() {
    let words = Words::new("en");
    for setting in fog_api::settings::ALL {
        assert!(words.has(&format!("setting-{}", setting.key)), "{}", setting.key);
        assert!(words.has(&format!("setting-{}-why", setting.key)), "{}", setting.key);
    }
    for rule in [
        "off",
        "snoozed",
        "on-battery",
        "charger",
        "battery-level",
        "battery-temp",
        "cpu-temp",
        "thermal",
        "in-use",
        "inhibited",
        "fullscreen",
        "exclusive",
        "other-cpu",
        "metered",
        "disk-free",
        "ram-available",
        "schedule",
        "energy",
        "fan",
    ] {
        assert!(words.has(&format!("why-{rule}")) && words.has(&format!("short-{rule}")), "{rule}");
    }
}

#[test]
fn a_reason_says_value_limit_and_end() {
    let reason = ReasonView {
        rule: "battery-level".to_owned(),
        effect: EffectView::Stops,
        now: ValueView::Percent(35.0),
        limit: ValueView::Percent(40.0),
        resumes: ResumeView::Above(ValueView::Percent(60.0)),
        held_until_ms: None,
        yields: false,
    };
    let verdict = VerdictView { reasons: vec![reason.clone()], ..VerdictView::default() };
    assert_eq!(
        Words::new("en").headline(&verdict, true, 0),
        "The battery is at 35 %, below your limit of 40 %. Resumes at 60 %."
    );
    assert_eq!(Words::new("de_AT.UTF-8").language(), "de");
    assert!(Words::new("de").reason(&reason, 0).contains("60 %"));
    let held = ReasonView { held_until_ms: Some(90_000), ..reason };
    assert_eq!(
        Words::new("en").reason(&held, 0),
        "The battery is at 35 %, below your limit of 40 %. Resumes at 60 %, in 90 s at the earliest."
    );
}

fn stop(rule: &str, now: ValueView, limit: ValueView) -> ReasonView {
    let yields = matches!(rule, "in-use" | "other-cpu");
    ReasonView {
        rule: rule.to_owned(),
        effect: EffectView::Stops,
        now,
        limit,
        resumes: ResumeView::UserActs,
        held_until_ms: None,
        yields,
    }
}

/// Returns the number in the command of a hint.
fn number_in(hint: &str) -> Option<f64> {
    hint.split_once('=')?.1.trim_end_matches('`').parse().ok()
}

#[test]
fn a_limit_that_is_suggested_is_below_the_limit_and_below_what_there_is() {
    let words = Words::new("en");
    let job = fog_types::JobId(7);
    let gb = |n: f64| ValueView::Bytes((n * 1e9) as u64);
    let mib = |n: u64| ValueView::Bytes(n << 20);
    for (rule, now, limit, reading, most) in [
        ("disk-free", gb(3.0), gb(5.0), 3.0, 5.0),
        ("disk-free", gb(0.6), gb(0.9), 0.6, 0.9),
        ("disk-free", gb(150.0), gb(200.0), 150.0, 200.0),
        ("ram-available", mib(400), mib(512), 400.0, 512.0),
        ("ram-available", mib(90), mib(100), 90.0, 100.0),
        ("battery-level", ValueView::Percent(15.0), ValueView::Percent(16.0), 15.0, 16.0),
    ] {
        let hint = words.way_on(&stop(rule, now, limit), job).unwrap();
        assert!(
            number_in(&hint).is_some_and(|number| number < reading && number < most && number > 0.0),
            "{hint}"
        );
    }
    for (rule, now, limit) in [
        ("disk-free", gb(0.05), gb(0.1)),
        ("ram-available", mib(60), mib(64)),
        ("battery-level", ValueView::Percent(5.0), ValueView::Percent(5.5)),
        ("battery-level", ValueView::Unknown, ValueView::Percent(40.0)),
        // This rule only waits until a little more is free again.
        ("disk-free", gb(50.0), gb(5.0)),
    ] {
        let hint = words.way_on(&stop(rule, now, limit), job).unwrap();
        assert!(number_in(&hint).is_none() && !hint.contains("hint-"), "{hint}");
    }
}

#[test]
fn no_hint_says_a_number_that_was_thought_of_before() {
    for (_, catalogue) in CATALOGUES {
        for line in catalogue.lines().filter(|line| line.contains("`fog settings set")) {
            let value = line
                .split_once("`fog settings set")
                .and_then(|(_, rest)| rest.split_once('='))
                .map_or("", |(_, value)| value);
            // The value 0 switches the rule off.
            assert!(value.starts_with("0`") || !value.starts_with(|c: char| c.is_ascii_digit()), "{line}");
        }
    }
}

#[test]
fn work_that_was_asked_for_is_not_claimed_while_a_rule_holds_for_it_too() {
    let words = Words::new("en");
    let task = fog_api::ActiveTask {
        job: fog_types::JobId(1),
        index: 0,
        name: "Asked".to_owned(),
        owner: fog_api::THIS_DEVICE.to_owned(),
        tasks_total: 1,
        permille: None,
        seconds_left: None,
        frozen: false,
        started_ms: 0,
        units: 0,
        saved_ms: None,
        save_problem: String::new(),
    };
    let status = |rules: &[&str]| fog_api::Status {
        contributing: true,
        verdict: VerdictView {
            reasons: rules
                .iter()
                .map(|rule| stop(rule, ValueView::Percent(1.0), ValueView::Percent(2.0)))
                .collect(),
            ..VerdictView::default()
        },
        active: vec![task.clone()],
        run_now: vec![fog_types::JobId(1)],
        ..fog_api::Status::default()
    };
    let headline = |rules: &[&str]| words.status_headline(&status(rules), 0);
    assert!(headline(&["in-use", "other-cpu"]).contains("because you asked for it now"));
    assert!(words.pill(&status(&["in-use"])).starts_with("Working"));
    for rule in ["off", "snoozed", "battery-level", "disk-free"] {
        for rules in [&[rule][..], &["in-use", rule]] {
            assert!(!headline(rules).contains("you asked"), "{}", headline(rules));
            assert!(!words.pill(&status(rules)).starts_with("Working"), "{rules:?}");
        }
    }
}

#[test]
fn nothing_resumes_by_itself_while_somebody_has_to_switch_it_on() {
    let words = Words::new("en");
    let in_use = ReasonView {
        resumes: ResumeView::AtMs(180_000),
        ..stop("in-use", ValueView::Seconds(0.0), ValueView::Seconds(180.0))
    };
    let verdict = |reasons: &[&ReasonView]| VerdictView {
        reasons: reasons.iter().map(|reason| (*reason).clone()).collect(),
        ..VerdictView::default()
    };
    let off = stop("off", ValueView::Nothing, ValueView::Nothing);
    let said = words.reasons(&verdict(&[&off, &in_use]), 0);
    assert!(said.len() == 2 && !said[1].contains("Resumes"), "{said:?}");
    assert!(!words.headline(&verdict(&[&in_use, &off]), true, 0).contains("Resumes"));
    let said = words.reasons(&verdict(&[&in_use]), 0);
    assert!(said[0].contains("Resumes in 3 min"), "{said:?}");
}

#[test]
fn what_is_paused_is_told_and_not_taken_for_work() {
    let words = Words::new("en");
    let paused = |paused| fog_api::Status {
        contributing: true,
        verdict: VerdictView { duty: 50, in_use: true, ..VerdictView::default() },
        counts: fog_api::JobCounts { paused, ..fog_api::JobCounts::default() },
        ..fog_api::Status::default()
    };
    assert_eq!(words.status_headline(&paused(0), 0), "Ready to work. No job is waiting");
    assert_eq!(words.status_headline(&paused(1), 0), "Ready to work. A job is paused, and no other waits");
    assert_eq!(words.status_headline(&paused(3), 0), "Ready to work. 3 jobs are paused, and no other waits");
    assert_eq!(
        (words.pill(&paused(0)), words.pill(&paused(2))),
        ("Ready · no jobs".to_owned(), "Ready · 2 paused".to_owned())
    );
    let waiting = fog_api::Status { next: Some("Next".to_owned()), ..paused(1) };
    assert!(words.status_headline(&waiting, 0).starts_with("Working at 50 %"));
}

#[test]
fn this_device_has_a_name_in_every_language() {
    assert_eq!(Words::new("en").for_owner(fog_api::THIS_DEVICE), "for this device");
    assert_eq!(Words::new("de").for_owner(fog_api::THIS_DEVICE), "für dieses Gerät");
    assert_eq!(Words::new("de").for_owner("Annas Laptop"), "für Annas Laptop");
}

#[test]
fn only_a_clock_that_is_a_minute_off_is_worth_a_word_and_it_says_whose() {
    let words = Words::new("en");
    let said = |millis: Option<i64>, peers| {
        words.clocks(&fog_api::ChatView {
            clock_off_ms: millis,
            clock_peers: peers,
            ..fog_api::ChatView::default()
        })
    };
    assert_eq!((said(None, 0), said(Some(-59_000), 2)), (None, None));
    assert!(
        said(Some(-180_000), 3).is_some_and(|text| text.contains("3 min fast") && text.contains("3 people"))
    );
    assert!(said(Some(180_000), 2).is_some_and(|text| text.contains("3 min slow")));
    // With only one other clock nobody knows which one is wrong.
    assert!(
        said(Some(7_200_000), 1)
            .is_some_and(|text| text.contains("2 h behind") && text.contains("One of the two is wrong"))
    );
    let person = |millis| fog_api::PersonView { clock_off_ms: millis, ..fog_api::PersonView::default() };
    assert_eq!(
        (words.clock_of(&person(None)), words.clock_of(&person(Some(-7_200_000)))),
        (None, Some("clock 2 h behind".to_owned()))
    );
    let message = fog_api::ChatMessage { stated_ms: Some(5), ..fog_api::ChatMessage::default() };
    assert_eq!(words.stated(&message, |at| at.to_string()), Some("5 by their clock".to_owned()));
}

#[test]
fn spans_are_said_as_people_say_them() {
    let words = Words::new("en");
    let said: Vec<String> = [12, 240, 11_520, 7_200, 200_000].into_iter().map(|s| words.span(s)).collect();
    assert_eq!(said, ["12 s", "4 min", "3 h 12 min", "2 h", "2 days"]);
}

#[test]
fn an_error_is_told_in_every_language_and_one_without_a_text_as_it_came() {
    let said = |key: &str, code: &str| {
        let mut error = fog_api::ApiError::new(fog_types::ErrorKind::BadInput, "it came so");
        error.key = key.to_owned();
        error.values = [("name".to_owned(), "home".into()), ("most".to_owned(), 60_u32.into())].into();
        Words::new(code).error(&error)
    };
    assert_eq!(
        said("error-network-not-joined", "en"),
        "no network called 'home' was joined; `fog network` shows them"
    );
    assert_eq!(
        said("error-network-not-joined", "de"),
        "Das Gerät ist in keinem Netz namens „home“; `fog network` zeigt sie"
    );
    assert_eq!(said("error-network-bad-group-name", "de"), "Der Name einer Gruppe hat 1 bis 60 Zeichen");
    // Errors of libraries have no key, and a newer engine has keys that this catalogue lacks.
    for key in ["", "error-of-a-newer-engine"] {
        assert_eq!((said(key, "en"), said(key, "de")), ("it came so".to_owned(), "it came so".to_owned()));
    }
}

#[test]
fn an_unknown_language_is_english_and_a_missing_text_shows_its_key() {
    assert_eq!(Words::new("xx").language(), "en");
    assert_eq!(Words::new("en").t("no-such-text"), "no-such-text");
}
