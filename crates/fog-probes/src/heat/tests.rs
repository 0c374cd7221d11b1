use super::*;

fn sensor(name: &str, celsius: f32) -> Sensor<f32> {
    Sensor { name: name.to_owned(), value: Ok(celsius) }
}

fn judged(temperatures: &[(&str, f32)], fans: &[(&str, u32)]) -> Heat {
    let temperatures = temperatures.iter().map(|(name, celsius)| sensor(name, *celsius)).collect();
    let fans = fans.iter().map(|(name, rpm)| Sensor { name: (*name).to_owned(), value: Ok(*rpm) }).collect();
    HeatSensors::new().judge(temperatures, fans, Instant::now())
}

#[test]
fn the_hottest_believable_sensor_decides_and_liars_are_named() {
    for lie in [127.5, 255.0, -273.0, 4_000.0, f32::NAN] {
        let heat = judged(
            &[("coretemp Package id 0", 96.0), ("coretemp Core 9", lie), ("k10temp Tctl", 90.0)],
            &[("fan1", 1_200), ("fan2", 65_535)],
        );
        assert_eq!((heat.cpu_celsius, heat.fan_rpm), (Some(96.0), Some(1_200)), "{lie}");
        let named: Vec<&str> = heat.faults.iter().map(|fault| fault.sensor.as_str()).collect();
        assert_eq!(named, ["coretemp Core 9", "fan2"], "{lie}");
    }
}

#[test]
fn a_board_whose_sensors_all_lie_has_no_temperature() {
    let heat = judged(&[("cpu-thermal", 255.0), ("acpitz", -273.1)], &[]);
    assert_eq!((heat.cpu_celsius, heat.fan_rpm, heat.faults.len()), (None, None, 2));
}

#[test]
fn sensors_elsewhere_do_not_count_and_the_firmware_only_alone() {
    let heat = judged(&[("nvme Composite", 80.0), ("amdgpu gpu core", 95.0), ("acpitz temp1", 70.0)], &[]);
    assert_eq!((heat.cpu_celsius, heat.faults.len()), (Some(70.0), 0));
    let heat = judged(&[("acpitz temp1", 70.0), ("x86_pkg_temp", 55.0)], &[]);
    assert_eq!(heat.cpu_celsius, Some(55.0));
}

#[test]
fn a_stuck_sensor_is_left_out_once_its_neighbours_have_moved() {
    let (mut sensors, begun) = (HeatSensors::new(), Instant::now());
    let mut at = |seconds: u64, stuck: f32, other: f32| {
        let list = vec![sensor("coretemp Core 0", stuck), sensor("coretemp Core 1", other)];
        sensors.judge(list, Vec::new(), begun + Duration::from_secs(seconds))
    };
    assert_eq!(at(0, 99.0, 80.0).cpu_celsius, Some(99.0));
    assert_eq!(at(500, 99.0, 60.0).cpu_celsius, Some(99.0), "not for long enough");
    let heat = at(600, 99.0, 62.0);
    assert_eq!(heat.cpu_celsius, Some(62.0));
    assert_eq!(
        (heat.faults[0].sensor.as_str(), heat.faults[0].says.as_str()),
        ("coretemp Core 0", "99 °C for 10 min")
    );
    assert_eq!(at(602, 64.0, 62.0).cpu_celsius, Some(64.0), "it moves again");
    // On a quiet machine all sensors stay constant, which is not a fault.
    assert_eq!(at(5_000, 64.0, 62.0).faults, []);
    // A single sensor is never called stuck.
    let mut alone = HeatSensors::new();
    for seconds in [0, 10_000] {
        let heat =
            alone.judge(vec![sensor("k10temp Tctl", 90.0)], Vec::new(), begun + Duration::from_secs(seconds));
        assert_eq!((heat.cpu_celsius, heat.faults.len()), (Some(90.0), 0));
    }
}

#[cfg(target_os = "linux")]
mod files {
    use std::path::Path;

    use super::*;

    fn put(class: &Path, file: &str, text: &str) {
        let path = class.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, format!("{text}\n")).unwrap();
    }

    fn read(class: &Path) -> Heat {
        HeatSensors { source: system::Source::at(class), still: BTreeMap::new() }.read(Instant::now())
    }

    #[test]
    fn chips_and_zones_are_read_and_what_is_broken_is_named() {
        let class = tempfile::tempdir().unwrap();
        for (file, text) in [
            ("hwmon/hwmon0/name", "coretemp"),
            ("hwmon/hwmon0/temp1_label", "Package id 0"),
            ("hwmon/hwmon0/temp1_input", "61000"),
            ("hwmon/hwmon0/temp2_label", "Core 0"),
            ("hwmon/hwmon0/temp2_input", "127500"),
            ("hwmon/hwmon0/temp3_label", "Core 1"),
            ("hwmon/hwmon0/temp3_input", "hot"),
            ("hwmon/hwmon0/temp4_label", "Core 2"),
            ("hwmon/hwmon0/temp4_input", "90000"),
            ("hwmon/hwmon0/temp4_fault", "1"),
            ("hwmon/hwmon1/name", "thinkpad"),
            ("hwmon/hwmon1/fan1_input", "65535"),
            ("hwmon/hwmon1/fan12_input", "2100"),
            ("thermal/thermal_zone0/type", "x86_pkg_temp"),
            ("thermal/thermal_zone0/temp", "64000"),
            ("thermal/thermal_zone1/type", "cpu-thermal"),
            ("thermal/thermal_zone1/mode", "disabled"),
            ("thermal/thermal_zone1/temp", "99000"),
            ("thermal/cooling_device0/type", "Processor"),
        ] {
            put(class.path(), file, text);
        }
        let heat = read(class.path());
        assert_eq!((heat.cpu_celsius, heat.fan_rpm), (Some(64.0), Some(2_100)));
        let named: Vec<String> =
            heat.faults.iter().map(|fault| format!("{} says {}", fault.sensor, fault.says)).collect();
        assert_eq!(
            named,
            [
                "coretemp Core 0 (hwmon0) says 127.5 °C",
                "coretemp Core 1 (hwmon0) says hot",
                "coretemp Core 2 (hwmon0) says 90000, and that it is broken",
                "thinkpad fan1 (hwmon1) says 65535 rpm",
            ]
        );
    }

    #[test]
    fn a_board_with_thermal_zones_alone_is_read() {
        let class = tempfile::tempdir().unwrap();
        for (zone, kind, celsius) in
            [(0, "cpu-thermal", "48000"), (1, "gpu-thermal", "88000"), (2, "soc_thermal", "51500")]
        {
            put(class.path(), &format!("thermal/thermal_zone{zone}/type"), kind);
            put(class.path(), &format!("thermal/thermal_zone{zone}/temp"), celsius);
        }
        assert_eq!(read(class.path()), Heat { cpu_celsius: Some(51.5), ..Heat::default() });
        assert_eq!(read(&class.path().join("missing")), Heat::default());
    }
}
