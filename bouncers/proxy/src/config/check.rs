//! Checks the configuration file and completes it with defaults. Pure: nothing outside the file is read.
