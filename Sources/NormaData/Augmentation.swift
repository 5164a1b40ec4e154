/// How much samples are varied while training.
///
/// Every field is the greatest deviation; the value for a sample is drawn anew each time. Zero switches a
/// variation off. All geometry of a sample is one coordinate map: the image is interpolated once.
public struct Augmentation: Sendable, Codable, Equatable {
  /// Whether samples are mirrored and turned by quarter turns: the 8 symmetries of the square.
  public var symmetries: Bool
  /// Shift along each axis, as a share of the crop's side; `full`: 0.1.
  public var shift: Float
  /// Zoom: the scale is drawn from 1 − zoom … 1 + zoom; `full`: 0.1.
  public var zoom: Float
  /// Shear angle in radians; `full`: 0.1.
  public var shear: Float
  /// Rotation angle in degrees, besides quarter turns; `full`: 15.
  public var rotation: Float
  /// Standard deviation, in pixels, of the displacements of the elastic deformation; `full`: 10.
  ///
  /// Displacements are normal on a 3×3 grid over the crop with bicubic interpolation between (Ronneberger et
  /// al., "U-Net", MICCAI 2015, section 3.1). At most 5 % of the crop's side, since the same
  /// displacement folds a small crop over itself.
  public var elastic: Float
  /// Brightness: a value from −brightness … brightness is added; `full`: 0.1 of the grey range 0…1.
  public var brightness: Float
  /// Contrast: deviations from mid-grey are multiplied by 1 − contrast … 1 + contrast; `full`: 0.15.
  public var contrast: Float
  /// Gamma: grey values are raised to a power from 1 / (1 + gamma) … 1 + gamma; `full`: 0.2.
  public var gamma: Float
  /// Noise: its standard deviation is drawn from 0 … noise; `full`: 0.02 of the grey range.
  ///
  /// The sum of eight uniform numbers, which is close to normal and quick to draw.
  public var noise: Float

  /// Varies nothing unless told to.
  public init(
    symmetries: Bool = false, shift: Float = 0, zoom: Float = 0, shear: Float = 0, rotation: Float = 0,
    elastic: Float = 0, brightness: Float = 0, contrast: Float = 0, gamma: Float = 0, noise: Float = 0
  ) {
    self.symmetries = symmetries
    self.shift = shift
    self.zoom = zoom
    self.shear = shear
    self.rotation = rotation
    self.elastic = elastic
    self.brightness = brightness
    self.contrast = contrast
    self.gamma = gamma
    self.noise = noise
  }

  /// Crops as they are.
  public static let none = Augmentation()

  /// The 8 symmetries of the square; grey values stay exact.
  public static let flips = Augmentation(symmetries: true)

  /// Symmetries, affine and elastic deformation, and grey-value variation.
  public static let full = Augmentation(
    symmetries: true, shift: 0.1, zoom: 0.1, shear: 0.1, rotation: 15, elastic: 10, brightness: 0.1,
    contrast: 0.15, gamma: 0.2, noise: 0.02)

  /// Throws `DataError` for a field outside its range.
  public func validate() throws {
    let fields: [(name: String, value: Float, greatest: Float)] = [
      ("shift", shift, 1), ("zoom", zoom, 0.9), ("shear", shear, 1), ("rotation", rotation, 180),
      ("elastic", elastic, 1000), ("brightness", brightness, 1), ("contrast", contrast, 1),
      ("gamma", gamma, 10), ("noise", noise, 1),
    ]
    // Written so that NaN fails too.
    for field in fields where !(field.value >= 0 && field.value <= field.greatest) {
      throw DataError(
        .parameter,
        "Expected the augmentation's \(field.name) between 0 and \(field.greatest), received \(field.value); "
          + "0 switches it off.")
    }
  }
}
