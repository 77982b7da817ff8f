"""The records that cross a border: files of a run's directory, job.json, a pod's log, answers of another machine.

Every record is a frozen dataclass. `encoding` turns it into a JSON object and back; `files` has the names on disk.
"""
