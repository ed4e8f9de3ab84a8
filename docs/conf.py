"""The site: ``make docs`` writes it into site/; a dead link, an unknown name or an orphan page is an error there."""

project = "onnx2tf_lite"
author = "the maintainers of onnx2tf_lite"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = "onnx2tf_lite"
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
