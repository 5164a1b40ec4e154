extension Tensor {
  /// A tensor whose elements are not set.
  public static func empty(
    _ shape: [Int], dtype: DType = .float32, device: Device = .cpu, memoryFormat: MemoryFormat = .contiguous
  ) throws -> Tensor {
    try Op.empty(
      .ints(shape), .dtype(dtype), nil, .device(device), nil,
      memoryFormat == .contiguous ? nil : .memoryFormat(memoryFormat))
  }

  public static func zeros(_ shape: [Int], dtype: DType = .float32, device: Device = .cpu) throws -> Tensor {
    try Op.zeros(.ints(shape), .dtype(dtype), nil, .device(device))
  }

  public static func ones(_ shape: [Int], dtype: DType = .float32, device: Device = .cpu) throws -> Tensor {
    try full(shape, 1, dtype: dtype, device: device)
  }

  public static func full(
    _ shape: [Int], _ value: Double, dtype: DType = .float32, device: Device = .cpu
  ) throws -> Tensor {
    try Op.full(.ints(shape), .double(value), .dtype(dtype), nil, .device(device))
  }

  /// 0, 1, …, count − 1.
  public static func range(_ count: Int, dtype: DType = .int64, device: Device = .cpu) throws -> Tensor {
    try Op.arange(.int(count), .dtype(dtype), nil, .device(device))
  }

  /// Standard normal random numbers.
  public static func normal(
    _ shape: [Int], dtype: DType = .float32, device: Device = .cpu, generator: Generator? = nil
  ) throws -> Tensor {
    let tensor = try empty(shape, dtype: dtype, device: device)
    return try Op.fillNormal(.tensor(tensor), 0.0, 1.0, .optional(generator))
  }

  /// Random numbers spread evenly over lower ..< upper.
  public static func uniform(
    _ shape: [Int], from lower: Double = 0, to upper: Double = 1, dtype: DType = .float32,
    device: Device = .cpu, generator: Generator? = nil
  ) throws -> Tensor {
    let tensor = try empty(shape, dtype: dtype, device: device)
    return try Op.fillUniform(.tensor(tensor), .double(lower), .double(upper), .optional(generator))
  }

  /// Ones with the given probability, else zeros.
  public static func bernoulli(
    _ shape: [Int], probability: Double, dtype: DType = .float32, device: Device = .cpu,
    memoryFormat: MemoryFormat = .contiguous, generator: Generator? = nil
  ) throws -> Tensor {
    let tensor = try empty(shape, dtype: dtype, device: device, memoryFormat: memoryFormat)
    return try Op.fillBernoulli(.tensor(tensor), .double(probability), .optional(generator))
  }

  /// A tensor of this one's shape, type, device and layout whose elements are not set.
  public func emptyLike() throws -> Tensor { try Op.emptyLike(.tensor(self)) }

  /// This tensor with exactly the strides of the layout, also along extents of 1, where several layouts agree; libtorch
  /// chooses the layout of a convolution's output by strides.
  public func laidOut(_ format: MemoryFormat) throws -> Tensor {
    let result = try Tensor.empty(shape, dtype: dtype, device: device, memoryFormat: format)
    if result.strides == strides { return self }
    try withoutGradients { try result.copy(from: self) }
    return result
  }

  /// Zeros of this tensor's shape, type, device and layout.
  public func zerosLike() throws -> Tensor { try Op.zerosLike(.tensor(self)) }

  /// Sets all elements.
  public func fill(_ value: Double) throws {
    try withoutGradients { try Op.fill.run(.tensor(self), .double(value)) }
  }

  /// Takes over the elements of another tensor of the same (or a broadcastable) shape.
  public func copy(from source: Tensor) throws {
    try withoutGradients { try Op.copy.run(.tensor(self), .tensor(source)) }
  }
}

// MARK: - Type, place and layout

extension Tensor {
  public func to(dtype: DType) throws -> Tensor {
    self.dtype == dtype ? self : try Op.toDType(.tensor(self), .dtype(dtype))
  }

  public func to(device: Device) throws -> Tensor {
    self.device == device ? self : try Op.toDevice(.tensor(self), .device(device), .dtype(dtype))
  }

  /// This tensor if it already lies in memory as asked, else a copy that does.
  public func contiguous(_ format: MemoryFormat = .contiguous) throws -> Tensor {
    isContiguous(format) ? self : try Op.contiguous(.tensor(self), .memoryFormat(format))
  }

  /// A copy with storage of its own.
  public func cloned() throws -> Tensor { try Op.clone(.tensor(self)) }
}

extension Op {
  static let empty = Operator("aten::empty", "memory_format")
  static let zeros = Operator("aten::zeros")
  static let full = Operator("aten::full")
  static let arange = Operator("aten::arange")
  static let fillNormal = Operator("aten::normal_")
  static let fillUniform = Operator("aten::uniform_")
  static let fillBernoulli = Operator("aten::bernoulli_", "float")
  static let emptyLike = Operator("aten::empty_like")
  static let zerosLike = Operator("aten::zeros_like")
  static let fill = Operator("aten::fill_", "Scalar")
  static let copy = Operator("aten::copy_")
  static let toDType = Operator("aten::to", "dtype")
  static let toDevice = Operator("aten::to", "device")
  static let contiguous = Operator("aten::contiguous")
  static let clone = Operator("aten::clone")
}
