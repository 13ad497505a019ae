//! `serve`: a gateway as its configuration describes it. `identity`: its id in the network map.

use datamesh_mesh::NodeKey;
use datamesh_node::durable_file::create_private_dir;

use super::until_terminated;
use crate::config::GatewayConfig;
use crate::instance::{Instance, StartError};

/// Serves until SIGTERM or SIGINT, then drains.
pub async fn run(config: &GatewayConfig) -> Result<(), StartError> {
    let terminated = until_terminated()?;
    let instance = Instance::start(config).await?;
    println!("S3 on {}, admin on {}", instance.s3_endpoint(), instance.admin_endpoint());
    if let Some(endpoint) = instance.accounts_endpoint() {
        println!("accounts on {endpoint}");
    }
    if let Some(endpoint) = instance.payments_endpoint() {
        println!("payments on {endpoint}");
    }
    println!("ready");
    terminated.await;
    tracing::info!("draining");
    instance.stop().await;
    Ok(())
}

/// Prints the gateway's id as JSON; makes the identity when there is none yet.
pub fn print_identity(config: &GatewayConfig) -> Result<(), StartError> {
    create_private_dir(&config.data_dir).map_err(StartError::io("create", &config.data_dir))?;
    let node_id = NodeKey::load_or_create(&config.key_file())?.node_id();
    println!("{}", serde_json::json!({ "node_id": node_id }));
    Ok(())
}
