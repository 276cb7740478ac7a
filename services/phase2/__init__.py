"""Phase 2: restoration networks, trained with the loss of Phase 1 or with a customary one."""
