"""One run in many processes, started by torchrun: each steps its share of the copies, and gradients are averaged."""
