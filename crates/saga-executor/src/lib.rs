//! Runs beside a microservice: takes commands, has them executed, decides, commits; hosts the duties
