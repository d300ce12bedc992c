//! A camera on a battery tells how fast it works, how full its battery is and in which mode it runs, slows down as it empties, and raises
//! a power alert before it stops: `cargo run --example power_manager`.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use kodikon::api::What;
use kodikon::{EventKind, Mesh, Priority, StartError};
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// The mode for so many per cent of battery, and the frames a second that it works at.
fn mode_of(battery: u8) -> (&'static str, f64) {
    match battery {
        51.. => ("performance", 30.0),
        21..=50 => ("balanced", 15.0),
        _ => ("saving", 5.0),
    }
}

/// At so many per cent somebody must come with another battery.
const LOW: u8 = 20;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    run().await
}

pub(crate) async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let (camera, desk) = (node("camera").await?, node("desk").await?);
    let (heard, mut said) = mpsc::unbounded_channel::<(String, Value)>();
    let alerts = heard.clone();
    desk.on(EventKind::State, move |event| {
        if let What::State { state, .. } = &event.what {
            // An error means that the example is over.
            let _ = heard.send(("state".to_owned(), Value::Object(state.clone())));
        }
    })?;
    desk.on(EventKind::Alert, move |event| {
        if let What::Alert { alert, .. } = &event.what {
            let _ = alerts.send(("alert".to_owned(), alert.clone()));
        }
    })?;

    let mut was_low = false;
    for battery in [80, 45, 19, 17] {
        let (mode, fps) = mode_of(battery);
        camera.set_state(json!({"battery_level": battery, "power_mode": mode, "processing_fps": fps}))?;
        wait_for(&mut said, "state", |state| state["battery_level"] == battery && state["power_mode"] == mode).await?;
        println!("desk: camera is at {battery} %, {mode}, {fps} fps");
        // Once: an alert says that something happened, the state how things are.
        let is_low = battery <= LOW;
        if is_low && !was_low {
            let alert = json!({"type": "power", "battery_level": battery, "power_mode": mode});
            camera.alert(alert).priority(Priority::High).ttl(Duration::from_secs(3_600)).send().await?;
            wait_for(&mut said, "alert", |alert| alert["type"] == "power" && alert["battery_level"] == battery).await?;
            println!("desk: bring a battery to the camera");
        }
        was_low = is_low;
    }
    if desk.alerts().await?.len() != 1 {
        return Err("the desk has more than one alert".into());
    }

    desk.shutdown().await;
    camera.shutdown().await;
    Ok(())
}

/// Waits until the desk hears something of this kind.
async fn wait_for(
    said: &mut mpsc::UnboundedReceiver<(String, Value)>,
    kind: &str,
    is_it: impl Fn(&Value) -> bool,
) -> Result<(), Box<dyn std::error::Error>> {
    let heard = async {
        while let Some((what, value)) = said.recv().await {
            if what == kind && is_it(&value) {
                return Ok(());
            }
        }
        Err("the desk hears nothing any more".into())
    };
    tokio::time::timeout(Duration::from_secs(10), heard).await?
}

async fn node(name: &str) -> Result<Mesh, StartError> {
    let fleet = format!("power-{}", std::process::id());
    Mesh::builder(name).in_memory().mesh_name(&fleet).interfaces(["lo"]).start().await
}
