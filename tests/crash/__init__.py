"""Power cuts: what a process writes is recorded, and disks are rebuilt as a cut may have left them."""
