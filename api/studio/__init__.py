"""The studio: the web application at `/`, in the API's process, for people who look.

Its pages are built with NiceGUI, ask `services` what the API's routes ask, and act for the caller
whom the Guard has let in. What a page sends and shows beyond that (images, files, event streams)
goes through the REST interface, by the browser.
"""
