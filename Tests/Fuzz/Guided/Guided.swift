// libFuzzer's entry to the readers. Scripts/fuzz-guided compiles it into one module with NormaFormats, so that the
// readers are instrumented and what reaches new code is kept and changed further.

#if canImport(Glibc)
  import Glibc
#endif

private let scratch = "/dev/shm/norma-fuzz-guided-\(getpid())"

@_cdecl("LLVMFuzzerTestOneInput")
public func readBrokenFile(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> Int32 {
  let descriptor = open(scratch, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
  guard descriptor >= 0, write(descriptor, bytes, count) == count else { fatalError("cannot write \(scratch)") }
  close(descriptor)
  defer { unlink(scratch) }
  let start = UnsafeBufferPointer(start: bytes, count: count)
  if TIFFChain.isMagic(start) || PNG.isMagic(start) {
    attempt {
      let stack = try ImageFile.read(scratch)
      precondition(stack.values.count == stack.pages * stack.valuesPerPage)
    }
  } else {
    attempt {
      let reader = try SafetensorsReader(scratch)
      for entry in reader.entries { _ = try reader.bytes(of: entry) }
    }
    attempt { _ = try IDX.read(scratch).values }
    attempt { _ = try CIFAR.read(scratch) }
    attempt {
      let table = try CSV.read(scratch)
      for column in table.columns.indices { attempt { _ = try table.numbers(in: column) } }
    }
  }
  return 0
}

private func attempt(_ read: () throws -> Void) {
  do {
    try read()
  } catch is FormatError {
  } catch {
    fatalError("\(type(of: error)) instead of a FormatError: \(error)")
  }
}
