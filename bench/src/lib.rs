//! Measurements: budgets, the simulator driver, the metal.
