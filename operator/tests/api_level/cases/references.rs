//! What a server refers to.

use super::*;

pub async fn a_missing_secret_is_named_and_its_appearance_is_enough(stage: &mut Stage) -> Result<()> {
    let space = stage.namespace("missing").await?;
    space.serve("demo", with_redis()).await?;
    let refused = space.condition("demo", "Accepted", |condition| condition.status == "False").await?;
    ensure!(refused.reason == "MissingReference", "{refused:?}");
    ensure!(refused.message.contains("Secret late") && refused.message.contains("url"), "{refused:?}");
    space.condition("demo", "Stalled", |condition| condition.status == "True").await?;
    ensure!(space.api::<Deployment>().get_opt("demo").await?.is_none());
    secret(&space, "late").await?;
    space.programmed("demo").await?;
    space.exists::<Deployment>("demo").await.map(drop)
}

pub async fn a_deleted_secret_leaves_the_children(stage: &mut Stage) -> Result<()> {
    let space = stage.namespace("deleted").await?;
    secret(&space, "late").await?;
    space.serve("demo", with_redis()).await?;
    space.programmed("demo").await?;
    space.api::<Secret>().delete("late", &DeleteParams::default()).await?;
    space.condition("demo", "Accepted", |condition| condition.reason == "MissingReference").await?;
    space.api::<Deployment>().get("demo").await?;
    Ok(())
}

pub async fn a_class_that_appears_completes_the_route(stage: &mut Stage) -> Result<()> {
    let classes = Api::<IngressClass>::all(stage.client.clone());
    classes.delete("nginx", &DeleteParams::default()).await?;
    let space = stage.namespace("class").await?;
    space.serve("demo", exposed()).await?;
    let missing = space.condition("demo", "Accepted", |condition| condition.status == "False").await?;
    ensure!(missing.message.contains("IngressClass nginx"), "{missing:?}");
    class(stage).await?;
    space.programmed("demo").await?;
    space.exists::<Ingress>("demo").await.map(drop)
}
