import Foundation
import TestSupport
import Testing

@testable import NormaTensor

/// Every kind of argument reaches libtorch as what it is.
@Suite struct OperatorArgumentTests {
  @Test func tensorsAndDefaults() throws {
    let add = Operator("aten::add", "Tensor")
    let a = try Tensor([1.0, 2])
    let b = try Tensor([10.0, 20])
    try expect(add(.tensor(a), .tensor(b)), [11, 22])
    try expect(add(.tensor(a), .tensor(b), .default), [11, 22])
    try expect(add(.tensor(a), .tensor(b), .int(3)), [31, 62])
    try expect(add(.tensor(a), .tensor(b), .double(0.5)), [6, 12])
    try expect(add(.tensor(a), .tensor(b), 2), [21, 42])
    try expect(add(.tensor(a), .tensor(b), -0.5), [-4, -8])
  }

  @Test func noneAndNumbersForOptionals() throws {
    let clamp = Operator("aten::clamp")
    let x = try Tensor([-5.0, 0.25, 5])
    try expect(clamp(.tensor(x), .none, .double(0.5)), [-5, 0.25, 0.5])
    try expect(clamp(.tensor(x), .int(-1), nil), [-1, 0.25, 5])
  }

  /// A schema that wants a float takes an integer too, also where it is optional.
  @Test func integerForFloat() throws {
    let replace = Operator("aten::nan_to_num")
    let x = try Tensor([Double.nan, .infinity, 1])
    try expect(replace(.tensor(x), .int(7), .int(8)), [7, 8, 1])
    let normal = Operator("aten::normal_")
    try expect(normal(.tensor(Tensor.empty([3], dtype: .float64)), .int(4), .int(0)), [4, 4, 4])
  }

  @Test func booleans() throws {
    let sum = Operator("aten::sum", "dim_IntList")
    let x = try Tensor([1.0, 2, 3, 4], shape: [2, 2])
    try expect(sum(.tensor(x), .ints([1]), .bool(true)), [3, 7], shape: [2, 1])
    try expect(sum(.tensor(x), .ints([1]), .bool(false)), [3, 7], shape: [2])
    try expect(sum(.tensor(x), .ints([0]), true), [4, 6], shape: [1, 2])
  }

  @Test func typeDeviceLayoutAndGenerator() throws {
    let zeros = try Operator("aten::zeros")(.ints([2]), .dtype(.int16), nil, .device(.cpu))
    #expect(zeros.dtype == .int16)
    #expect(zeros.device == .cpu)
    let x = try Tensor.normal([1, 3, 4, 5])
    let last = try Operator("aten::contiguous")(.tensor(x), .memoryFormat(.channelsLast))
    #expect(last.isContiguous(.channelsLast))
    #expect(!last.isContiguous())
    #expect(last.strides == [60, 1, 15, 3])
    let fill = Operator("aten::uniform_")
    let draw = { (seed: UInt64) in
      try fill(.tensor(Tensor.empty([4])), 0.0, 1.0, .generator(Generator(seed: seed))).doubles
    }
    #expect(try draw(1) == draw(1))
    #expect(try draw(1) != draw(2))
  }

  @Test(arguments: [false, true]) func listsOfNumbers(integers: Bool) throws {
    // A list of floats, optional in the schema: enlargement by whole factors from either kind of list.
    let upsample = Operator("aten::upsample_nearest2d", "vec")
    let x = try Tensor([1.0, 2], shape: [1, 1, 1, 2])
    let y = try upsample(.tensor(x), .none, integers ? .ints([2, 3]) : .doubles([2, 3]))
    try expect(y, [1, 1, 1, 2, 2, 2, 1, 1, 1, 2, 2, 2], shape: [1, 1, 2, 6])
  }

  @Test func fractionalFactors() throws {
    let upsample = Operator("aten::upsample_nearest2d", "vec")
    let x = try Tensor([1.0, 2], shape: [1, 1, 1, 2])
    try expect(upsample(.tensor(x), .none, .doubles([1, 1.5])), [1, 1, 2], shape: [1, 1, 1, 3])
  }

  @Test func emptyLists() throws {
    try expect(
      Operator("aten::reshape")(.tensor(Tensor([5.0])), .ints([])), [5], shape: [])
    #expect(throws: TensorError.self) { try Operator("aten::cat")(.tensors([]), 0) }
  }

  @Test func listOfBooleans() throws {
    // y = w x per position: dw = Σ g x, db = Σ g; the mask leaves dx out.
    let backward = Operator("aten::convolution_backward")
    let x = try Tensor([1.0, 2, 3], shape: [1, 1, 3])
    let g = try Tensor([1.0, 10, 100], shape: [1, 1, 3])
    let w = try Tensor([2.0], shape: [1, 1, 1])
    func call(_ mask: [Bool]) throws -> [[Double]?] {
      try backward.all(
        .tensor(g), .tensor(x), .tensor(w), .ints([1]), .ints([1]), .ints([0]), .ints([1]), false, .ints([0]),
        1,
        .bools(mask)
      ).map { try $0?.doubles }
    }
    #expect(try call([false, true, true]) == [nil, [321], [111]])
    #expect(try call([true, false, false]) == [[2, 20, 200], nil, nil])
  }

  @Test func listsOfTensors() throws {
    let (a, b) = (try Tensor([1.0, 2]), try Tensor([3.0]))
    try expect(Operator("aten::cat")(.tensors([a, b, a]), 0), [1, 2, 3, 1, 2])
    // x[:, [2, 0]] and x[[1]]: none stands for a whole dimension.
    let x = try Tensor([0.0, 1, 2, 3, 4, 5], shape: [2, 3])
    let index = Operator("aten::index", "Tensor")
    try expect(index(.tensor(x), .optionalTensors([nil, Tensor([2, 0])])), [2, 0, 5, 3], shape: [2, 2])
    try expect(index(.tensor(x), .optionalTensors([Tensor([1])])), [3, 4, 5], shape: [1, 3])
  }

  @Test func strings() throws {
    let gelu = Operator("aten::gelu")
    let x = try Tensor([-1.0, 0.5, 2])
    let exact = [-1.0, 0.5, 2].map { 0.5 * $0 * (1 + erf($0 / 2.0.squareRoot())) }
    let approximate = [-1.0, 0.5, 2].map { (v: Double) -> Double in
      0.5 * v * (1 + tanh((2 / Double.pi).squareRoot() * (v + 0.044715 * v * v * v)))
    }
    try expect(gelu(.tensor(x), .string("none")), exact)
    try expect(gelu(.tensor(x), .string("tanh")), approximate)
    #expect(relativeError(exact, approximate) > 1e-5, "the two tell the arguments apart")
    // Longer than a word, and beside lists that share the scratch memory.
    let a = try Tensor([1.0, 2, 3, 4], shape: [2, 2])
    try expect(Operator("aten::einsum")(.string("ij,jk,kl->il"), .tensors([a, a, a])), [37, 54, 81, 118])
    let error = #expect(throws: TensorError.self) { try gelu(.tensor(x), .string("")) }
    #expect(error?.message.contains("approximate") == true)
  }

  @Test func resultsThatAreNoTensors() throws {
    let x = try Tensor([1.0, 2])
    let equal = Operator("aten::equal")
    try equal.run(.tensor(x), .tensor(x))
    #expect(throws: TensorError.self) { try equal(.tensor(x), .tensor(x)) }
    #expect(try equal.all(.tensor(x), .tensor(x)).map { $0 == nil } == [true])
    // A list of tensors comes back flat.
    let parts = try Operator("aten::unbind", "int").all(.tensor(x), 0).map { try $0?.item() }
    #expect(parts == [1, 2])
  }
}

/// Wrong calls are errors with libtorch's words, and the next call works.
@Suite struct OperatorErrorTests {
  private func message(_ body: () throws -> Tensor) throws -> String {
    let error = #expect(throws: TensorError.self) { try body() }
    // The engine is as it was.
    try expect(Tensor([1.0]) + Tensor([2.0]), [3])
    return try #require(error).description
  }

  @Test func unknownOperator() throws {
    let x = try Tensor([1.0])
    let text = try message { try Operator("aten::no_such_operator")(.tensor(x)) }
    #expect(text.contains("no_such_operator"))
    let overload = try message { try Operator("aten::add", "NoSuchOverload")(.tensor(x), .tensor(x)) }
    #expect(overload.contains("NoSuchOverload"))
  }

  @Test func shapes() throws {
    let text = try message { try Tensor.ones([2, 3]) + Tensor.ones([2, 4]) }
    #expect(text.hasPrefix("aten::add: "))
    #expect(text.contains("3") && text.contains("4") && text.contains("must match"))
    #expect(!text.contains("frame #"), "no backtrace")
  }

  @Test func numberOfArguments() throws {
    let x = try Tensor([1.0])
    let many = try message { try Operator("aten::relu")(.tensor(x), 1, 2) }
    #expect(many.contains("at most 1 arguments, got 3"))
    let few = try message { try Operator("aten::mul", "Tensor")(.tensor(x)) }
    #expect(few.contains("'other'"))
    let none = try message { try Operator("aten::relu")() }
    #expect(none.contains("'self'"))
    let fallback = try message { try Operator("aten::relu")(.default) }
    #expect(fallback.contains("'self' has no default"))
  }

  @Test func kindsOfArguments() throws {
    let x = try Tensor([1.0])
    let wrong: [OperatorArgument] = [.none, .string("x"), .int(1), .ints([1]), .bool(true), .tensors([x])]
    for argument in wrong {
      let text = try message { try Operator("aten::relu")(argument) }
      #expect(text.contains("Tensor"), "\(argument)")
    }
    for argument: OperatorArgument in [.tensor(x), .string("x"), .double(1), .bools([true])] {
      _ = try message { try Operator("aten::reshape")(.tensor(x), argument) }
    }
    for argument: OperatorArgument in [.tensor(x), .string("x"), .ints([1])] {
      _ = try message { try Operator("aten::softmax", "int")(.tensor(x), argument) }
    }
  }

  @Test func errorsOfOwnChecks() throws {
    let text = try message { try Tensor([1.0, 2, 3], shape: [2, 2]) }
    #expect(text.contains("[2, 2]") && text.contains("4") && text.contains("3"))
    #expect(throws: TensorError.self) { try Tensor([1.0, 2]).item() }
    #expect(throws: TensorError.self) { try Tensor.empty([-1]) }
    #expect(throws: TensorError.self) { try Tensor([1.0, 2], shape: [-1, -2]) }
    #expect(throws: TensorError.self) { try Tensor([1.0]).selected(1) }
    #expect(throws: TensorError.self) { try Tensor.ones([2, 3, 4]).maxPooled(kernel: [2, 2]) }
    #expect(throws: TensorError.self) { try Tensor.ones([2, 3]).upsampledNearest(factor: 2) }
    #expect(throws: TensorError.self) { try Tensor.ones([2, 3]).averagePooled(kernel: []) }
  }
}

@Suite struct RuntimeTests {
  @Test func versionsAgree() {
    #expect(Runtime.mismatch == nil)
    #expect(Runtime.loadedVersion == Runtime.version)
    #expect(Runtime.isOther("9.8.7") && !Runtime.isOther(""))
    #expect(Runtime.threads >= 1)
  }

  @Test func devices() throws {
    #expect(Device.cpu.description == "cpu")
    #expect(Device(type: 1, index: 3).description == "cuda:3")
    for device in [Device.cpu, Device(type: 1, index: 3), Device(type: 13, index: 0)] {
      #expect(Device(packed: device.packed) == device)
    }
    // Whichever libtorch this is, the answer is a device or a sentence.
    do {
      #expect(try Device.cuda(1).description == "cuda:1")
    } catch let error as TensorError {
      #expect(error.message.contains("use the CPU"))
    }
  }
}
