package oshttp
