#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

import NormaData
import NormaTensor

/// Pictures [N, C, side, side] with a class each, for small classifiers.
public struct ClaimData: Sendable {
  /// What reports call it.
  public let name: String
  /// C of the pictures.
  public let channels: Int
  /// Height and width in pixels.
  public let side: Int
  /// How many classes there are; labels count from 0.
  public let classes: Int
  /// Draws one picture: its pixels and its class.
  let draw: @Sendable (inout RandomSource) -> (pixels: [Float], label: Int)

  /// Gratings of four directions in noise, with phases, wavelengths, contrasts and grounds that vary; the class is the direction.
  public static let gratings = ClaimData(name: "gratings of four directions, 16×16", channels: 1, side: 16, classes: 4)
  {
    random in
    let label = random.integer(below: 4)
    let angle = Double(label) * Double.pi / 4 + random.uniform(in: -0.25...0.25)
    let phase = random.uniform(in: 0...2 * Double.pi)
    let frequency = 2 * Double.pi / random.uniform(in: 3.5...9.0)
    let contrast = random.uniform(in: 0.4...1.0)
    let ground = random.uniform(in: -0.5...0.5)
    let (right, down) = (cos(angle) * frequency, sin(angle) * frequency)
    var pixels: [Float] = []
    for y in 0..<16 {
      for x in 0..<16 {
        let wave = cos(Double(x) * right + Double(y) * down + phase)
        pixels.append(Float(ground + contrast * wave + 0.7 * random.normal()))
      }
    }
    return (pixels, label)
  }

  /// Patches of a stack; the class is that of the pixel in the middle, every class as often.
  /// - Throws: `DataError` unless the slices are larger than a patch.
  public static func patches(of stack: SegmentationDataset) throws -> ClaimData {
    let side = 16
    guard stack.height > side, stack.width > side else {
      throw DataError(
        .split,
        "Expected slices of more than \(side)×\(side) pixels, received \(stack.height)×\(stack.width) in \(stack.name)."
      )
    }
    let images = (0..<stack.pages).map(stack.image(page:))
    let labels = (0..<stack.pages).map(stack.labels(page:))
    return ClaimData(
      name: "patches of \(stack.name), 16×16", channels: stack.channels, side: side, classes: stack.classes
    ) { random in
      let wanted = random.integer(below: stack.classes)
      while true {
        let page = random.integer(below: stack.pages)
        let (y, x) = (random.integer(below: stack.height - side), random.integer(below: stack.width - side))
        guard Int(labels[page][(y + side / 2) * stack.width + x + side / 2]) == wanted else { continue }
        let area = stack.height * stack.width
        var pixels: [Float] = []
        for channel in 0..<stack.channels {
          for row in y..<y + side {
            let start = channel * area + row * stack.width + x
            // Around 0, as networks like it.
            pixels += images[page][start..<start + side].map { $0 * 4 - 2 }
          }
        }
        return (pixels, wanted)
      }
    }
  }

  struct Batch {
    let images: Tensor
    let labels: Tensor
  }

  /// - Parameter seed: decides the pictures.
  func batch(_ count: Int, seed: UInt64, contrast: Float = 1) throws -> Batch {
    var random = RandomSource(seed: seed)
    var pixels: [Float] = []
    var labels: [Int64] = []
    pixels.reserveCapacity(count * channels * side * side)
    for _ in 0..<count {
      let (drawn, label) = draw(&random)
      pixels += contrast == 1 ? drawn : drawn.map { $0 * contrast }
      labels.append(Int64(label))
    }
    return Batch(images: try Tensor(pixels, shape: [count, channels, side, side]), labels: try Tensor(labels))
  }
}
