def test_probe(start_proxy, configure, backend, phone, pki):
    p = start_proxy(configure(backend))
    r = phone(p, pki.device_ca.device("alice@corp.example")).options()
    print(r.start)
    print(p.log.tail(40))
    assert 0
