"""minioar: a small cluster that answers like OAR3's REST API and runs each job as a real process group.

request.py    what a POST asks for
job.py        a job in memory, and OAR's state words
store.py      all jobs and events, in a SQLite file that survives the server
forms.py      jobs and resources as OAR3 shows them
keeper.py     a process of its own that starts the commands and records their ends in a journal
engine.py     the scheduler: rounds that end, kill and start jobs
faults.py     misbehaviour that tests ask for
routes.py     requests and their answers
web.py        HTTP on raw sockets, where the faults happen
"""
