/// Where a tensor lives. Types are numbered as in libtorch, so any backend it knows can be named.
public struct Device: Sendable, Hashable, CustomStringConvertible {
  /// libtorch's number of the device type: 0 CPU, 1 CUDA, 13 Metal (MPS), …
  public let type: Int8
  /// Which one of them; -1 is the current one.
  public let index: Int8

  public init(type: Int8, index: Int8 = -1) {
    self.type = type
    self.index = index
  }

  public static let cpu = Device(type: 0)

  /// A CUDA device. The first use loads libtorch's CUDA library; it is to come before tensors are trained on another device.
  /// - Throws: ``TensorError`` when this libtorch has no CUDA library, it cannot be loaded, or there is no such device.
  public static func cuda(_ index: Int = 0) throws -> Device {
    let count = try cudaCount()
    guard (0..<count).contains(index) else {
      throw TensorError(
        operation: "cuda",
        message:
          "there is no CUDA device \(index); the machine has \(count == 1 ? "one, cuda:0" : "\(count), cuda:0 to cuda:\(count - 1)")"
      )
    }
    return Device(type: 1, index: Int8(index))
  }

  /// How many CUDA devices this process sees, at least one. Loads libtorch's CUDA library like ``cuda(_:)``.
  /// - Throws: ``TensorError`` like that.
  public static func cudaCount() throws -> Int { try Backends.cuda.get() }

  public var isCUDA: Bool { type == 1 }

  public var description: String {
    switch type {
    case 0: "cpu"
    case 1: index < 0 ? "cuda" : "cuda:\(index)"
    default: "device(\(type)):\(index)"
    }
  }

  init(packed: Int32) {
    self.init(type: Int8(packed >> 8), index: Int8(truncatingIfNeeded: packed))
  }

  var packed: Int32 { Int32(type) << 8 | Int32(UInt8(bitPattern: index)) }
}

/// How the elements of an image tensor [N, C, spatial…] lie in memory. Raw values are libtorch's.
public enum MemoryFormat: Int32, Sendable {
  /// Channels before space: every plane is one run of memory.
  case contiguous = 0
  case preserve = 1
  /// Space before channels ([N, H, W, C] in memory); the fast layout for 2-d convolutions.
  case channelsLast = 2
  /// The same for [N, C, D, H, W].
  case channelsLast3d = 3
}
