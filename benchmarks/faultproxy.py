"""Fault-injecting reverse proxy for S3 (needs aiohttp only; Host is passed through, so SigV4 stays valid).
python faultproxy.py LISTEN_PORT http://127.0.0.1:UPSTREAM
POST /__fault {"seed":1, "match":"^/bucket/ckpt", "methods":["PUT"], "latency":0.2, "bps":1e6, "burst503":5,
               "p503":.2, "p500":.2, "preset":.2, "preset_after":.2, "ptrunc":.3, "phang":.03, "hang_s":600}    GET /__fault -> counters"""

import asyncio
import random
import re
import sys

import aiohttp
import yarl
from aiohttp import web

F, C, PLAN, RND, UP = {}, {}, {}, random.Random(0), sys.argv[2]
HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "expect"}
XML = '<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>%s</Message><RequestId>fault</RequestId></Error>'
ERR = {
    "p503": (503, "SlowDown", "Please reduce your request rate."),
    "p500": (500, "InternalError", "We encountered an internal error. Please try again."),
}


def cnt(k):
    C[k] = C.get(k, 0) + 1


def hit(k):
    """One of every 1/F[k] requests, at a random place among them: as many faults in every run, never the same ones."""
    if not F.get(k):
        return False
    seen, at = PLAN.get(k, (0, 0))
    block = max(1, round(1 / F[k]))
    if seen % block == 0:
        at = RND.randrange(block)
    PLAN[k] = (seen + 1, at)
    if seen % block == at:
        cnt(k)
        return True
    return False


async def ctl(r):
    if r.method == "POST":
        F.clear()
        C.clear()
        PLAN.clear()
        F.update(await r.json())
        RND.seed(F.get("seed", 0))
    return web.json_response({"faults": F, "counters": C})


def reset(req):
    req.transport.abort()
    raise web.HTTPInternalServerError()


async def handle(req):
    cnt("requests")
    on = bool(re.search(F.get("match", ""), req.raw_path)) and req.method in F.get("methods", [req.method])
    if on:
        if F.get("latency"):
            await asyncio.sleep(F["latency"] * (0.5 + RND.random()))
        bad = next((k for k in ("p503", "p500") if hit(k)), None)
        if F.get("burst503", 0) > 0:
            F["burst503"] -= 1
            cnt("burst503")
            bad = "p503"
        if bad:
            st, code, msg = ERR[bad]
            return web.Response(
                status=st, text=XML % (code, msg), content_type="application/xml", headers={"Connection": "close"}
            )
        if hit("preset"):
            reset(req)  # RST, upstream never sees the request
        if hit("phang"):
            await asyncio.sleep(F.get("hang_s", 3600))
            reset(req)
    hd = [(a, b) for a, b in req.headers.items() if a.lower() not in HOP]
    async with req.app["s"].request(
        req.method,
        yarl.URL(UP + req.raw_path, encoded=True),
        headers=hd,
        allow_redirects=False,
        data=req.content.iter_chunked(1 << 18) if req.body_exists else None,
        skip_auto_headers=("User-Agent", "Content-Type", "Accept", "Accept-Encoding"),
    ) as up:
        if on and hit("preset_after"):
            await up.read()
            reset(req)  # done upstream, the answer is lost
        res = web.StreamResponse(status=up.status, reason=up.reason)
        for a, b in up.headers.items():
            if a.lower() not in HOP:
                res.headers.add(a, b)
        n = int(up.headers.get("Content-Length", 0))
        cut = n // 2 if on and req.method == "GET" and n > 1 and hit("ptrunc") else None
        await res.prepare(req)
        sent = 0
        if req.method != "HEAD":
            async for ch in up.content.iter_chunked(1 << 16):
                if cut is not None and sent + len(ch) > cut:
                    await res.write(ch[: cut - sent])
                    req.transport.abort()
                    return res
                await res.write(ch)
                sent += len(ch)
                C["bytes"] = C.get("bytes", 0) + len(ch) * (req.method == "GET")
                if on and F.get("bps"):
                    await asyncio.sleep(len(ch) / F["bps"])
        await res.write_eof()
        return res


async def mk():
    app = web.Application(client_max_size=1 << 40)

    async def ctx(a):
        a["s"] = aiohttp.ClientSession(
            auto_decompress=False, connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None)
        )
        yield
        await a["s"].close()

    app.cleanup_ctx.append(ctx)
    app.router.add_route("*", "/__fault", ctl)
    app.router.add_route("*", "/{p:.*}", handle)
    return app


if __name__ == "__main__":
    web.run_app(mk(), host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)
