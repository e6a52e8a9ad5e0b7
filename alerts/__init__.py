"""Floor 2: alarms and the SMS dialogue. Pure functions and one more serial instrument, the modem."""
