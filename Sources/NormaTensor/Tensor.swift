import CTorch

/// A multi-dimensional array of numbers on some device, as libtorch keeps it.
///
/// A `Tensor` is a reference: copies share storage, and in-place functions (named with a verb, such as
/// ``fill(_:)``) change all of them. Operations throw ``TensorError`` with libtorch's message.
public struct Tensor: @unchecked Sendable {
  let box: Box

  /// Owns one reference to libtorch's tensor.
  final class Box {
    let handle: CTTensor
    var recipe: Recipe?
    init(_ handle: CTTensor) { self.handle = handle }
    deinit { ct_tensor_release(handle) }
  }

  package init(owning handle: CTTensor) { box = Box(handle) }

  package var handle: CTTensor { box.handle }
}

/// Which tensor with which elements; see ``Tensor/state``. Valid while the tensor lives.
public struct TensorState: Hashable, Sendable {
  /// The same for all references to one tensor.
  package let identity: UInt
  let version: Int
}

// MARK: - What a tensor is

extension Tensor {
  /// The number of dimensions.
  public var rank: Int { withExtendedLifetime(box) { Int(ct_tensor_rank(handle)) } }

  /// The extent of every dimension.
  public var shape: [Int] { integers(ct_tensor_sizes) }

  /// The step in elements from one index to the next along every dimension.
  public var strides: [Int] { integers(ct_tensor_strides) }

  /// The number of elements.
  public var count: Int { withExtendedLifetime(box) { Int(ct_tensor_count(handle)) } }

  public var dtype: DType {
    let raw = withExtendedLifetime(box) { ct_tensor_dtype(handle) }
    guard let dtype = DType(rawValue: Int8(raw)) else {
      preconditionFailure("libtorch made a tensor of element type \(raw), which Norma has no name for")
    }
    return dtype
  }

  public var device: Device { withExtendedLifetime(box) { Device(packed: ct_tensor_device(handle)) } }

  /// Tells this tensor with its present elements from others and from itself after a change in place.
  public var state: TensorState {
    withExtendedLifetime(box) {
      TensorState(identity: UInt(bitPattern: handle), version: Int(ct_tensor_version(handle)))
    }
  }

  public func isContiguous(_ format: MemoryFormat = .contiguous) -> Bool {
    withExtendedLifetime(box) { ct_tensor_is_contiguous(handle, format.rawValue) }
  }

  /// The layout in which the data already lies without gaps; contiguous when it has to be copied.
  public var denseFormat: MemoryFormat {
    if isContiguous(.contiguous) { return .contiguous }
    if rank == 4, isContiguous(.channelsLast) { return .channelsLast }
    if rank == 5, isContiguous(.channelsLast3d) { return .channelsLast3d }
    return .contiguous
  }

  private func integers(_ read: (CTTensor, UnsafeMutablePointer<Int64>) -> Void) -> [Int] {
    let rank = rank
    return [Int](unsafeUninitializedCapacity: rank) { buffer, count in
      if let base = buffer.baseAddress {
        withExtendedLifetime(box) {
          base.withMemoryRebound(to: Int64.self, capacity: rank) { read(handle, $0) }
        }
      }
      count = rank
    }
  }
}

// MARK: - From and to Swift

extension Tensor {
  /// A tensor of the given elements in row-major order.
  /// - Throws: ``TensorError`` when the shape does not hold as many elements.
  public init<Element: TensorElement>(
    _ elements: [Element], shape: [Int], device: Device = .cpu
  ) throws {
    guard shape.reduce(1, *) == elements.count else {
      throw TensorError(
        operation: "Tensor(_:shape:)",
        message: "the shape \(shape) holds \(shape.reduce(1, *)) elements, but \(elements.count) were given")
    }
    let tensor = try Tensor.empty(shape, dtype: Element.dtype)
    if !elements.isEmpty {
      try elements.withUnsafeBytes { source in
        try tensor.withDataPointer { $0.copyMemory(from: source.baseAddress!, byteCount: source.count) }
      }
    }
    self = device == .cpu ? tensor : try tensor.to(device: device)
  }

  /// A vector of the given elements.
  public init<Element: TensorElement>(_ elements: [Element], device: Device = .cpu) throws {
    try self.init(elements, shape: [elements.count], device: device)
  }

  /// A tensor of rank 0.
  public init<Element: TensorElement>(_ value: Element, device: Device = .cpu) throws {
    try self.init([value], shape: [], device: device)
  }

  /// The elements in row-major order, converted to the asked type.
  public func array<Element: TensorElement>(of type: Element.Type = Element.self) throws -> [Element] {
    let plain = try detached().to(device: .cpu).to(dtype: Element.dtype).contiguous()
    let count = plain.count
    return try [Element](unsafeUninitializedCapacity: count) { buffer, initialized in
      if count > 0 {
        try plain.withDataPointer {
          UnsafeMutableRawPointer(buffer.baseAddress!).copyMemory(
            from: $0, byteCount: count * MemoryLayout<Element>.stride)
        }
      }
      initialized = count
    }
  }

  /// The only element, as a Double.
  /// - Throws: ``TensorError`` when there is not exactly one.
  public func item() throws -> Double {
    guard count == 1 else {
      throw TensorError(
        operation: "item", message: "a tensor with one element was expected, got one of shape \(shape)")
    }
    return try array(of: Double.self)[0]
  }

  /// The address of the first element, valid inside the closure; device memory for other devices.
  public func withDataPointer<Result>(_ body: (UnsafeMutableRawPointer) throws -> Result) throws -> Result {
    try withExtendedLifetime(box) {
      guard let pointer = ct_tensor_data(handle) else {
        throw TensorError(
          operation: "withDataPointer", message: "the tensor of shape \(shape) has no elements in memory")
      }
      OperatorTrace.add(OperatorTrace.read, [.tensor(self)]) { [] }
      return try body(pointer)
    }
  }
}

extension Tensor: CustomStringConvertible {
  public var description: String {
    var text = "Tensor(\(shape), \(dtype), \(device))"
    if count <= 16, let values = try? array(of: Double.self) { text += " \(values)" }
    return text
  }
}
