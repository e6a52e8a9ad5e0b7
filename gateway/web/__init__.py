"""The page: what people see of the station with a browser, and what they may do there. See README.md.

Nothing here is imported unless station.toml has a section [web]. The page reads the station and the journal;
it changes something only by appending an event to the journal, as an SMS or the command line does.

    page.py        opens the port, puts the parts together, ends in order
    endpoint.py    what an endpoint is: path, who may, what comes in; checking and OpenAPI are made from it
    guard.py       before every request: host, origin, who is asking, size; behind it: the headers
    sessions.py    passwords, sessions, tries
    assets.py      the files of static/, compressed once
    now.py charts.py stream.py alarms.py state.py health.py entry.py     the endpoints, a list each
"""
