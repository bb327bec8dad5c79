"""The named endpoints as tools of the Model Context Protocol (MCP), for assistants that are language models.

Gradio serves them. What such a client needs besides is here: answers as JSON, not in Python's notation; heatmaps as
pictures; slices as data URIs, several at once, that are deleted as any upload is; and the page's login.
"""

from __future__ import annotations

import base64
import binascii
import inspect
import io
import json
import logging
import mimetypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gradio.mcp
from gradio.processing_utils import save_base64_to_cache
from gradio.route_utils import compare_passwords_securely
from gradio_client import Client, handle_file
from gradio_client.utils import is_file_obj_with_meta
from PIL import Image
from starlette.requests import Request
from starlette.responses import JSONResponse

log = logging.getLogger(__name__)

NOTICE = "For teaching and research: not a medical device, and no answer of it is a diagnosis."

PICTURE_SIDE = 512
"""Of a heatmap that is handed over, px: what language models look at."""

_FILE = (
    "Data URI (data:image/png;base64,..., at most 3 MB), or http(s) URL, also that of a file that was posted to this "
    "server's /gradio_api/upload: .../gradio_api/file=PATH."
)
UNREADABLE = (
    "The tool could not start. If a file was given as a URL, it must be public and reachable from the server: send a "
    "data URI instead."
)
_UPLOADED = "/gradio_api/file="
_PICTURE = "data:image/png;base64,"


def prepare() -> bool:
    """Let gradio serve the tools as below, from the next launch on; False where what that takes is not installed."""
    if find_spec("mcp") is None:
        log.warning("The page starts without tools for MCP clients. For these, install gradio[mcp].")
        return False
    gradio.mcp.GradioMCPServer = Tools
    return True


class Tools(gradio.mcp.GradioMCPServer):
    """Gradio's MCP server with better manners."""

    def get_tool_to_endpoint(self) -> dict[str, str]:
        """Tools are called as endpoints are, on Hugging Face with the Space's name before."""
        names = self.api_info["named_endpoints"]
        return {self.valid_and_unique_tool_name(self.tool_prefix + name.lstrip("/"), set()): name for name in names}

    def get_fn_description(self, block_fn: Any, tool_name: str) -> tuple[str, dict[str, str]]:
        _, parameters = super().get_fn_description(block_fn, tool_name)
        # Gradio puts commas between the lines of what is returned.
        described, _, returned = inspect.getdoc(block_fn.fn).partition("\nReturns:\n")
        described = described.partition("\nArgs:\n")[0]
        return " ".join(f"{described} Returns JSON: {returned} {NOTICE}".split()), parameters

    def get_input_schema(
        self, tool_name: str, parameters: dict[str, str] | None = None
    ) -> tuple[dict[str, Any], list[list[str | int]]]:
        schema, files = super().get_input_schema(tool_name, parameters)
        for name in {str(place[0]) for place in files}:
            several = schema["properties"][name]["type"] == "array"
            what = f"{(parameters or {}).get(name, '')} {'Each: ' if several else ''}{_FILE}".strip()
            text = {"type": "string"}
            schema["properties"][name] = (
                {"type": "array", "items": text, "minItems": 1, "description": what}
                if several
                else text | {"description": what}
            )
        return schema, files

    def convert_strings_to_filedata(self, value: Any, filedata_positions: list[list[str | int]]) -> Any:
        files = {place[0] for place in filedata_positions}
        return {name: self._files(name, given) if name in files else given for name, given in value.items()}

    def _files(self, name: str, given: Any) -> Any:
        if isinstance(given, list):
            return [self._files(name, one) for one in given]
        if not isinstance(given, str):
            raise ValueError(f"No file was sent. Give `{name}`: {_FILE}")
        if given.startswith("data:"):
            return handle_file(self._kept(name, given))
        path = given.partition(_UPLOADED)[2]
        if path in self.blocks.upload_file_set and Path(path).exists():
            return handle_file(path)
        if given.startswith(("http://", "https://")):
            return handle_file(given)
        raise ValueError(f"`{name}` is neither a data URI nor a URL. Give one: {_FILE}")

    def _kept(self, name: str, uri: str) -> str:
        """The path of the content, which is deleted when uploads of that age are."""
        try:
            base64.b64decode(uri.partition(",")[2], validate=True)
        except binascii.Error:
            raise ValueError(f"The data URI in `{name}` is cut short or no base64. Send all of it.") from None
        path = save_base64_to_cache(uri, self.blocks.GRADIO_CACHE)
        self.blocks.upload_file_set.add(path)
        return path

    def postprocess_output_data(self, data: Any, root_url: str) -> list[Any]:
        content = []
        for output in data:
            content += self._file_content(output) if is_file_obj_with_meta(output) else self._json_content(output)
        return content

    def _json_content(self, output: Any) -> list[Any]:
        pictures: list[Any] = []
        text = json.dumps(_parted(output, pictures), ensure_ascii=False)
        return [self.types.TextContent(type="text", text=text), *map(self._picture, pictures)]

    def _picture(self, content: str) -> Any:
        return self.types.ImageContent(type="image", data=content, mimeType="image/png")

    def _file_content(self, output: dict[str, Any]) -> list[Any]:
        """A file that the page made, whole: its URL would lead to the login, and soon to nothing."""
        name, content = output["orig_name"], Path(output["path"]).read_bytes()
        named = self.types.TextContent(type="text", text=json.dumps({"file": name}))
        if name.endswith(".json"):
            text, *pictures = self._json_content(json.loads(content))
            return [text, named, *pictures]
        encoded = base64.b64encode(content).decode()
        if name.endswith(".png"):
            return [named, self._picture(encoded)]
        resource = self.types.BlobResourceContents(
            uri=f"report:///{name}", mimeType=mimetypes.guess_type(name)[0], blob=encoded
        )
        return [named, self.types.EmbeddedResource(type="resource", resource=resource)]

    async def _execute_tool_without_progress(self, job: Any) -> list[Any]:
        with _in_words():
            return await super()._execute_tool_without_progress(job)

    async def _execute_tool_with_progress(self, job: Any, progress_token: str | int) -> Any:
        with _in_words():
            return await super()._execute_tool_with_progress(job, progress_token)

    def _get_or_create_client(self) -> Client:
        # Who gets here is signed in (`_guarded`), but the way from here to the queue leads through the door again.
        if self._client_instance is None and self.blocks.auth:
            self._client_instance = Client(
                self.local_url,
                auth=self.blocks.auth[0],
                download_files=False,
                verbose=False,
                analytics_enabled=False,
                ssl_verify=False,
                _skip_components=False,
            )
        return super()._get_or_create_client()

    def launch_mcp_on_sse(self, app: Any, subpath: str, root_path: str) -> None:
        super().launch_mcp_on_sse(app, subpath, root_path)
        mount = next(route for route in app.routes if getattr(route, "path", None) == subpath)
        mount.app = _guarded(mount.app, app)


@contextmanager
def _in_words() -> Iterator[None]:
    """What gradio keeps to itself, for fear of telling too much, becomes a sentence: mostly, a URL cannot be read."""
    try:
        yield
    except Exception as error:
        if str(error) == "Error!" or "show_error=True" in str(error):
            raise ValueError(UNREADABLE) from None
        raise


def _parted(output: Any, pictures: list[Any]) -> Any:
    """The output without its pictures, which are appended to `pictures` as base64."""
    if isinstance(output, dict):
        return {key: _parted(value, pictures) for key, value in output.items()}
    if isinstance(output, list):
        return [_parted(value, pictures) for value in output]
    if isinstance(output, str) and output.startswith(_PICTURE):
        pictures.append(_reduced(output.removeprefix(_PICTURE)))
        return f"image {len(pictures)} of this answer"
    return output


def _reduced(picture: str) -> str:
    image = Image.open(io.BytesIO(base64.b64decode(picture)))
    image.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def _guarded(tools: Callable, app: Any) -> Callable:
    """Gradio asks nobody who comes for tools: let in who is signed in, or sends name and password with each request."""

    async def guard(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or app.auth is None or _signed_in(Request(scope), app):
            await tools(scope, receive, send)
            return
        refusal = JSONResponse(
            {"error": "Send the page's user and password as HTTP Basic authorization."},
            401,
            {"WWW-Authenticate": 'Basic realm="brain-tumor", charset="UTF-8"'},
        )
        await refusal(scope, receive, send)

    return guard


def _signed_in(request: Request, app: Any) -> bool:
    for cookie in (f"access-token-{app.cookie_id}", f"access-token-unsecure-{app.cookie_id}"):
        if request.cookies.get(cookie) in app.tokens:
            return True
    kind, _, credentials = request.headers.get("authorization", "").partition(" ")
    try:
        user, _, password = base64.b64decode(credentials, validate=True).decode().partition(":")
    except ValueError:
        return False
    return kind.lower() == "basic" and user in app.auth and compare_passwords_securely(password, app.auth[user])
