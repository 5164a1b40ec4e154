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
  do {
    let start = UnsafeBufferPointer(start: bytes, count: count)
    if TIFFChain.isMagic(start) || PNG.isMagic(start) {
      let stack = try ImageFile.read(scratch)
      precondition(stack.values.count == stack.pages * stack.valuesPerPage)
    } else {
      let reader = try SafetensorsReader(scratch)
      for entry in reader.entries { _ = try reader.bytes(of: entry) }
    }
  } catch is FormatError {
  } catch {
    fatalError("\(type(of: error)) instead of a FormatError: \(error)")
  }
  return 0
}
