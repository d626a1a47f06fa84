//! Every permission the operator needs, as one table.
