use std::process::ExitCode;

use fog_api::Command;
use fog_engine::EngineConfig;
use fog_runtime::WorkerProgram;
use fog_types::ErrorKind;

use crate::args::DaemonArgs;
use crate::connect::Context;
use crate::output::Failure;

/// Runs the engine until a signal or a command stops it.
pub async fn daemon(context: &Context, args: &DaemonArgs) -> Result<ExitCode, Failure> {
    let log = args.log_file.as_deref();
    fog_engine::start_log(log, "info")
        .map_err(|e| Failure::storage(log.unwrap_or(std::path::Path::new("standard error")), &e))?;
    let worker =
        WorkerProgram::this().map_err(|e| Failure::bug(format!("this program cannot find itself: {e}")))?;
    let config = EngineConfig {
        data_folder: context.data_folder.clone(),
        worker,
        examples: fog_engine::examples_folder(),
        device: None,
        network: args.network(),
        chat: fog_engine::ChatSettings { bluetooth: args.ble, adapter: args.adapter.clone(), phone: None },
    };
    let handle =
        fog_engine::start(config).map_err(|error| match error.downcast_ref::<fog_engine::StoreError>() {
            Some(known) => Failure::of(known),
            None => Failure::new(ErrorKind::Storage, format!("{error:#}")),
        })?;
    let serving = {
        let (handle, folder) = (handle.clone(), context.data_folder.clone());
        tokio::spawn(async move { fog_engine::serve(handle, &folder).await })
    };
    if let Some(port) = args.metrics {
        match crate::metrics::listen(port).await {
            Ok(listener) => drop(tokio::spawn(crate::metrics::serve(listener, handle.clone()))),
            Err(error) => {
                let _ = handle.call(Command::Shutdown).await;
                handle.stopped().await;
                return Err(Failure::new(
                    ErrorKind::Conflict,
                    format!("port {port} for the counters cannot be had: {error}"),
                ));
            }
        }
    }
    tracing::info!(folder = %context.data_folder.display(), "the engine serves");
    tokio::select! {
        () = interrupted() => {
            tracing::info!("stopping");
            // The engine may have stopped already.
            let _ = handle.call(Command::Shutdown).await;
        }
        () = handle.stopped() => {}
        served = serving => if let Ok(Err(error)) = served {
            let _ = handle.call(Command::Shutdown).await;
            handle.stopped().await;
            return Err(Failure::new(ErrorKind::Conflict, format!("other programs cannot be served: {error}")));
        }
    }
    handle.stopped().await;
    handle.why_stopped().map_or(Ok(ExitCode::SUCCESS), |why| Err(why.into()))
}

async fn interrupted() {
    match crate::signals::Signals::new() {
        Ok(mut signals) => drop(signals.next().await),
        Err(_) => drop(tokio::signal::ctrl_c().await),
    }
}
