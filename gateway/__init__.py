"""Floor 3: the program. One data flow, read top to bottom:

    bus ─ driver.read ─► Measurement ─ flag ─► Reading ─► JOURNAL ─┬─ sink: mqtt · influx  (at least once)
                                                                   ├─ fold: alarms         (exactly once)
                                                                   └─ view                 (read only)

Errors, and who acts on them (the instruments' stand in drivers.base, the others in gateway.errors):

    InstrumentError
    ├─ NoAnswer         the wire stayed silent           bus: retry, then the sensor is at fault
    ├─ GarbledAnswer    bytes came, not an answer        bus: retry at once
    ├─ NotReady         warming up, busy, no new value   bus: later; not counted as a fault
    ├─ RequestRefused   a Modbus exception: wrong map    bus: fault, said once
    ├─ InstrumentFault  the instrument says it is ill    bus: event, alarm
    └─ PortLost         the port is gone or cannot open  bus: reopen with back-off
    DeliveryError
    ├─ Unreachable      the far side is away             follower: the same batch again, later
    └─ Refused          the far side will never take it  follower: halve the batch, set the one record aside
    ConfigError         one line: file, key, what is wrong, what is allowed; exit code 2
    ControlError        one line for whoever asked the running service by its socket; exit code 1
    └─ NotRunning       there is no service to ask
    JournalError        the disk: nobody retries; the process ends, systemd restarts it
"""
