import NormaNN
import NormaTensor
import TestSupport
import Testing

/// Convolutions whose gradients are matrix products: the first of a network, whose input wants no gradient, and 1×1
/// convolutions to few outputs. The general test of convolutions wants a gradient of the input, so it never meets the
/// first kind.
@Suite struct ThinConvolutionTests {
  @Test(arguments: [
    ([2, 1, 5, 6], 3, [3, 3], Padding.same), ([1, 3, 4, 5], 2, [2, 2], .same), ([2, 2, 4, 4], 5, [3, 1], .valid),
    ([2, 5, 3, 4], 1, [1, 1], .valid), ([1, 40, 3, 3], 4, [1, 1], .same),
  ]) func gradientsAreThoseOfTheDefinition(_ shape: [Int], _ outputs: Int, _ kernel: [Int], _ padding: Padding) throws {
    var random = TestRandom(11)
    let layer = try Convolution(inputChannels: shape[1], outputChannels: outputs, kernel: kernel, padding: padding)
    try randomize(layer, &random)
    let x = NDArray.random(shape, &random)
    let cotangent = try layer(Tensor(x)).shape
    let g = NDArray.random(cotangent, &random)
    for format in [MemoryFormat.contiguous, .channelsLast] {
      try layer.clearGradients()
      try layer.to(memoryFormat: format)
      // Once wanting the input's gradient and once not: two computations of the same.
      var gradients: [[[Double]]] = []
      for wanted in [true, false] {
        try layer.clearGradients()
        let input = try Tensor(x).laidOut(format).requiringGradient(wanted)
        try layer(input).backward(Tensor(g))
        gradients.append(try layer.parameters.map { try #require($0.gradient).doubles })
        if wanted {
          let numeric = numericalGradient(at: x.values) { values in
            let y = try! withoutGradients { try layer(Tensor(values, shape: shape)).doubles }
            return dot(y, g.values)
          }
          #expect(try relativeError(#require(input.gradient).doubles, numeric) < 1e-7)
        }
      }
      for (parameter, index) in zip(layer.parameters, 0...) {
        let values = try parameter.value.doubles
        let numeric = try numericalGradient(at: values) { changed in
          try withoutGradients {
            try parameter.value.copy(from: Tensor(changed, shape: parameter.value.shape))
            return try dot(layer(Tensor(x)).doubles, g.values)
          }
        }
        try withoutGradients { try parameter.value.copy(from: Tensor(values, shape: parameter.value.shape)) }
        for all in gradients { #expect(relativeError(all[index], numeric) < 1e-7) }
      }
    }
  }

  /// An image of one channel lies both ways at once; its convolution's output follows the weight.
  @Test func imagesOfOneChannelGiveChannelsLast() throws {
    let layer = try Convolution(inputChannels: 1, outputChannels: 4, kernel: [3, 3], padding: .same)
    try layer.to(memoryFormat: .channelsLast)
    #expect(try layer(Tensor.ones([2, 1, 8, 8])).isContiguous(.channelsLast))
  }
}
