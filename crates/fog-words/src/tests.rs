use std::collections::BTreeMap;

use fog_api::{EffectView, ReasonView, ResumeView, ValueView, VerdictView};

use super::*;

/// Keys with the variables their text uses.
fn keys(text: &str) -> BTreeMap<&str, Vec<String>> {
    let mut found: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut last = "";
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if let Some((key, _)) = line.split_once(" =").filter(|(key, _)| !key.starts_with([' ', '[', '*'])) {
            last = key;
            found.entry(key).or_default();
        }
        let variables = line.split('$').skip(1).map(|rest| rest.chars().take_while(|c| c.is_alphanumeric()).collect::<String>());
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
    };
    let verdict = VerdictView { reasons: vec![reason.clone()], ..VerdictView::default() };
    assert_eq!(Words::new("en").headline(&verdict, true, 0), "The battery is at 35 %, below your limit of 40 %. Resumes at 60 %.");
    assert_eq!(Words::new("de_AT.UTF-8").language(), "de");
    assert!(Words::new("de").reason(&reason, 0).contains("60 %"));
    let held = ReasonView { held_until_ms: Some(90_000), ..reason };
    assert_eq!(Words::new("en").reason(&held, 0), "The battery is at 35 %, below your limit of 40 %. Resumes at 60 %, in 90 s at the earliest.");
}

#[test]
fn only_a_clock_that_is_a_minute_off_is_worth_a_word_and_it_says_whose() {
    let words = Words::new("en");
    let said = |millis: Option<i64>, peers| words.clocks(&fog_api::ChatView { clock_off_ms: millis, clock_peers: peers, ..fog_api::ChatView::default() });
    assert_eq!((said(None, 0), said(Some(-59_000), 2)), (None, None));
    assert!(said(Some(-180_000), 3).is_some_and(|text| text.contains("3 min fast") && text.contains("3 people")));
    assert!(said(Some(180_000), 2).is_some_and(|text| text.contains("3 min slow")));
    // With one other clock nobody knows which is wrong.
    assert!(said(Some(7_200_000), 1).is_some_and(|text| text.contains("2 h behind") && text.contains("One of the two is wrong")));
    let person = |millis| fog_api::PersonView { clock_off_ms: millis, ..fog_api::PersonView::default() };
    assert_eq!((words.clock_of(&person(None)), words.clock_of(&person(Some(-7_200_000)))), (None, Some("clock 2 h behind".to_owned())));
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
fn an_unknown_language_is_english_and_a_missing_text_shows_its_key() {
    assert_eq!(Words::new("xx").language(), "en");
    assert_eq!(Words::new("en").t("no-such-text"), "no-such-text");
}
