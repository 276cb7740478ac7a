"""The catalogue of models: restorers, trained and imported."""

from services.database.schema import Model, ModelFile
from services.publications import Publications

MEDIA_TYPES = {
    "safetensors": "application/vnd.safetensors",
    "onnx": "application/onnx",
    "pt2": "application/zip",
}

_models = Publications(Model, ModelFile, ModelFile.model_id, noun="model", folder="models")

put = _models.put
store = _models.store
add_trained = _models.add_trained
add_imported = _models.add_imported
get = _models.get
referenced = _models.referenced
list_models = _models.page
rename = _models.rename
files = _models.files
file = _models.file
read = _models.read
delete = _models.delete
free = _models.free
