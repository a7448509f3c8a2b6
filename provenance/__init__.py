"""Record log, checkpoints, anchors on Solana, rewards and audit."""
